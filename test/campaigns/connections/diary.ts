/**
 * What one client of the feed was told, as it came.
 * Invariant: nothing is sorted, deduplicated or forgotten here; what a feed must never say is kept as `wrong`.
 */
import { decodeIdOf } from '../../../src/graphql/global-id.ts'

export interface Told {
  cursor: string
  /** Of the prediction, as it is in the log. */
  id: string
  status: string
}

export interface Diary {
  readonly name: string
  readonly told: readonly Told[]
  /** Of its first FeedCaughtUp. */
  readonly begin: string | null
  readonly connections: number
  /** The feed has said, on the present connection, that it has caught up. */
  readonly isLive: boolean
  /** How many events came live; the others were replayed. */
  readonly live: number
  readonly wrong: string | null
  connected(): void
  /** One result of the feed. Answers with its cursor, if it has one. */
  take(result: unknown): string | null
  fail(what: string): void
}

interface Result {
  data?: { predictionFeed?: Item | null } | null
  errors?: unknown
}
type Item =
  | { __typename: 'PredictionEvent'; cursor: string; prediction: { id: string; status: string } }
  | { __typename: 'FeedCaughtUp'; cursor: string }
  | { __typename: 'FeedGap'; cursor: string; reason: string }

export function createDiary(name: string): Diary {
  const told: Told[] = []
  let begin: string | null = null
  let connections = 0
  let isLive = false
  let live = 0
  let wrong: string | null = null

  const diary: Diary = {
    name,
    told,
    get begin() {
      return begin
    },
    get connections() {
      return connections
    },
    get isLive() {
      return isLive
    },
    get live() {
      return live
    },
    get wrong() {
      return wrong
    },
    connected() {
      connections++
      isLive = false
    },
    take(result) {
      const { data, errors } = result as Result
      const item = data?.predictionFeed
      if (errors !== undefined || !item) {
        diary.fail(JSON.stringify(result))
        return null
      }
      if (item.__typename === 'FeedGap') diary.fail(`FeedGap, ${item.reason}`)
      if (item.__typename === 'FeedCaughtUp') {
        isLive = true
        begin ??= item.cursor
      }
      if (item.__typename === 'PredictionEvent') {
        const { cursor, prediction } = item
        told.push({ cursor, id: decodeIdOf('Prediction', prediction.id), status: prediction.status })
        if (isLive) live++
      }
      return item.cursor
    },
    fail(what) {
      wrong ??= `${name}, after ${told.length} events: ${what}`
    },
  }
  return diary
}
