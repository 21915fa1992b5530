/**
 * What the run asks of a server, whichever it is.
 */
export interface BenchServer {
  url: string
  /** For `connection_init`. */
  authorization: string
  /** Tells every subscriber of these events, all in one turn of the loop. */
  publish(numbers: readonly number[]): Promise<void> | void
}
