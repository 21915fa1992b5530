/**
 * What the run asks of a server, whichever it is.
 */
export interface BenchServer {
  port: number
  authorization: string
  /** An image that its submits may name; empty: it looks at none. */
  imageUrl: string
}

/** The app that asks, and whose rows there are. */
export const APP = 'bench'
export const FILE = 'bench.db'
