/**
 * What one client of the feed was told, as it came.
 * Invariant: nothing is sorted, deduplicated or forgotten here; what a feed must never say is kept as `wrong`.
 */
import { decodeIdOf } from '../../../src/graphql/global-id.ts'

export interface DeliveredEvent {
  cursor: string
  /** Of the prediction, as it is in the log. */
  id: string
  status: string
}

export interface DeliveryHistory {
  readonly name: string
  readonly events: readonly DeliveredEvent[]
  /** Of its first FeedCaughtUp. */
  readonly firstCursor: string | null
  readonly connectionCount: number
  /** The feed has said, on the present connection, that it has caught up. */
  readonly isCaughtUp: boolean
  /** How many events came live; the others were replayed. */
  readonly liveCount: number
  readonly breach: string | null
  recordConnection(): void
  /** One result of the feed. Answers with its cursor, if it has one. */
  record(result: unknown): string | null
  recordBreach(what: string): void
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
    recordBreach(what) {
      breach ??= `${name}, after ${events.length} events: ${what}`
    },
  }
  return history
}
