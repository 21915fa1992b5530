/**
 * The interface of every server that answers requests.
 */
export interface BenchServer {
  port: number
  authorization: string
  /** An image that a submit may name. Empty: the server fetches no image. */
  imageUrl: string
}

/** The app that sends the requests and owns the rows. */
export const APP = 'bench'
export const FILE = 'bench.db'
