/**
 * A client of the feed, whatever carries it: what it asks, and what can be done to it.
 */

import type { Random } from '../../../src/simulator/seeded-random.ts'
import type { Diary } from './diary.ts'

export interface Filter {
  statuses?: string[]
  tags?: string[]
}

export interface Question {
  /** Of the GraphQL endpoint, `http://…`. */
  url: string
  key: string
  document: string
  variables: { after?: string; filter: Filter }
  diary: Diary
  random: Random
}

export interface Watcher {
  /** The client's own socket is destroyed; it comes back by itself. */
  drop(): void
  close(): Promise<void>
}

/** Before a client comes back. */
export const RETRY_MS = [10, 120] as const

/** Forty times the same three kilobytes. */
const FAT = Array.from({ length: 40 }, (_, i) => `fat${i}: metadata`).join(' ')

/** A second or two of a stall, and a fat one's events outgrow the four megabytes that the system takes of a socket. */
export const feedDocument = (
  isFat: boolean,
): string => `subscription ($after: String, $filter: PredictionFilter) {
  predictionFeed(after: $after, filter: $filter) {
    __typename
    ... on PredictionEvent { cursor prediction { id status ${isFat ? FAT : ''} } }
    ... on FeedCaughtUp { cursor }
    ... on FeedGap { cursor reason }
  }
}`
