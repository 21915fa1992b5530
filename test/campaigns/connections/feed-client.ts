/**
 * A feed client, independent of its transport.
 */

import type { SeededRandom } from '../../../src/simulator/seeded-random.ts'
import type { DeliveryHistory } from './delivery-history.ts'

export interface Filter {
  statuses?: string[]
  tags?: string[]
}

export interface FeedClientOptions {
  /** URL of the GraphQL endpoint, `http://…`. */
  url: string
  key: string
  document: string
  variables: { after?: string; filter: Filter }
  history: DeliveryHistory
  random: SeededRandom
}

export interface FeedClient {
  /** Destroys the client's own socket. The client reconnects by itself. */
  dropConnection(): void
  close(): Promise<void>
}

/** Delay before a reconnect. */
export const RETRY_DELAY_MS = [10, 120] as const

/** Selects the same 3 KB 40 times. */
const LARGE_SELECTION = Array.from({ length: 40 }, (_, i) => `large${i}: metadata`).join(' ')

/** During a stall of a second or two, large events exceed the 4 MB that the kernel buffers for a socket. */
export const feedDocument = (
  isLarge: boolean,
): string => `subscription ($after: String, $filter: PredictionFilter) {
  predictionFeed(after: $after, filter: $filter) {
    __typename
    ... on PredictionEvent { cursor prediction { id status ${isLarge ? LARGE_SELECTION : ''} } }
    ... on FeedCaughtUp { cursor }
    ... on FeedGap { cursor reason }
  }
}`
