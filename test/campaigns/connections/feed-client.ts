/**
 * A client of the feed, whatever carries it: what it asks, and what can be done to it.
 */

import type { SeededRandom } from '../../../src/simulator/seeded-random.ts'
import type { DeliveryHistory } from './delivery-history.ts'

export interface Filter {
  statuses?: string[]
  tags?: string[]
}

export interface FeedClientOptions {
  /** Of the GraphQL endpoint, `http://…`. */
  url: string
  key: string
  document: string
  variables: { after?: string; filter: Filter }
  history: DeliveryHistory
  random: SeededRandom
}

export interface FeedClient {
  /** The client's own socket is destroyed; it comes back by itself. */
  dropConnection(): void
  close(): Promise<void>
}

/** Before a client comes back. */
export const RETRY_DELAY_MS = [10, 120] as const

/** Forty times the same three kilobytes. */
const LARGE_SELECTION = Array.from({ length: 40 }, (_, i) => `fat${i}: metadata`).join(' ')

/** A second or two of a stall, and a fat one's events outgrow the four megabytes that the system takes of a socket. */
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
