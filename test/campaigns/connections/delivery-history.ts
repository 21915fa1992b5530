/**
 * The events that one feed client received, in order of arrival.
 * Invariant: nothing is sorted, deduplicated or dropped. A result that the feed must never send is kept as `breach`.
 */
import { decodeIdOf } from '../../../src/graphql/global-id.ts'

export interface DeliveredEvent {
  cursor: string
  /** The prediction's id in the database. */
  id: string
  status: string
}

export interface DeliveryHistory {
  readonly name: string
  readonly events: readonly DeliveredEvent[]
  /** Cursor of the first FeedCaughtUp. */
  readonly firstCursor: string | null
  readonly connectionCount: number
  /** Whether FeedCaughtUp came on the present connection. */
  readonly isCaughtUp: boolean
  /** Events received live. The others were replayed. */
  readonly liveCount: number
  readonly breach: string | null
  recordConnection(): void
  /** Records one feed result. Returns its cursor; null if it has none. */
  record(result: unknown): string | null
  recordBreach(description: string): void
}

interface Result {
  data?: { predictionFeed?: FeedItem | null } | null
  errors?: unknown
}
type FeedItem =
  | { __typename: 'PredictionEvent'; cursor: string; prediction: { id: string; status: string } }
  | { __typename: 'FeedCaughtUp'; cursor: string }
  | { __typename: 'FeedGap'; cursor: string; reason: string }

export function createDeliveryHistory(name: string): DeliveryHistory {
  const events: DeliveredEvent[] = []
  let firstCursor: string | null = null
  let connectionCount = 0
  let isCaughtUp = false
  let liveCount = 0
  let breach: string | null = null

  const history: DeliveryHistory = {
    name,
    events,
    get firstCursor() {
      return firstCursor
    },
    get connectionCount() {
      return connectionCount
    },
    get isCaughtUp() {
      return isCaughtUp
    },
    get liveCount() {
      return liveCount
    },
    get breach() {
      return breach
    },
    recordConnection() {
      connectionCount++
      isCaughtUp = false
    },
    record(result) {
      const { data, errors } = result as Result
      const item = data?.predictionFeed
      if (errors !== undefined || !item) {
        history.recordBreach(JSON.stringify(result))
        return null
      }
      if (item.__typename === 'FeedGap') history.recordBreach(`FeedGap, ${item.reason}`)
      if (item.__typename === 'FeedCaughtUp') {
        isCaughtUp = true
        firstCursor ??= item.cursor
      }
      if (item.__typename === 'PredictionEvent') {
        const { cursor, prediction } = item
        events.push({ cursor, id: decodeIdOf('Prediction', prediction.id), status: prediction.status })
        if (isCaughtUp) liveCount++
      }
      return item.cursor
    },
    recordBreach(description) {
      breach ??= `${name}, after ${events.length} events: ${description}`
    },
  }
  return history
}
