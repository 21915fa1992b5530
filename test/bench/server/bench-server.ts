/**
 * The interface of every server that sends events.
 */
export interface BenchServer {
  url: string
  /** Sent in `connection_init`. */
  authorization: string
  /** Sends these events to every subscriber, all in one event-loop turn. */
  publish(numbers: readonly number[]): Promise<void> | void
}
