/**
 * Times of the app's predictions of the last day, for the plot. The chosen filter does not apply.
 * Invariant: an older state of a prediction never replaces a newer one, whether it comes from an event or a read.
 */
import { type Connection, HISTORY, type PredictionTimes } from './documents.ts'
import type { GatewayApi } from './gateway-api.ts'

export interface PredictionHistory {
  /** Key: prediction id. The map is mutated. */
  readonly timesById: ReadonlyMap<string, PredictionTimes>
  /** Number of predictions after which reading stopped, newest first. Null: all are known. */
  readonly truncatedAt: number | null
  record(times: PredictionTimes): void
  /** Drops predictions that are too old for the plot. */
  prune(): void
  /** Reads the last day page by page, at most 20 pages. */
  load(): Promise<void>
}

/** More than the plotted hour, since a job that ended in it may have waited long. */
const DAY_MS = 24 * 60 * 60 * 1000
const PAGE_SIZE = 100
const MAX_PAGES = 20

export function createHistory(api: Pick<GatewayApi, 'request' | 'now'>): PredictionHistory {
  const timesById = new Map<string, PredictionTimes>()
  let truncatedAt: number | null = null
  const oldestTime = () => api.now() - DAY_MS

  function record(times: PredictionTimes): void {
    const recorded = timesById.get(times.id)
    if (recorded !== undefined && recorded.updatedAt > times.updatedAt) return
    const { id, status, createdAt, submittedAt, finishedAt, updatedAt } = times
    timesById.set(id, { id, status, createdAt, submittedAt, finishedAt, updatedAt })
  }

  return {
    timesById,
    get truncatedAt() {
      return truncatedAt
    },
    record,

    prune() {
      for (const [id, { createdAt, finishedAt }] of timesById)
        if (Date.parse(finishedAt ?? createdAt) < oldestTime()) timesById.delete(id)
    },

    async load() {
      const filter = { createdAfter: new Date(oldestTime()).toISOString() }
      let after: string | null = null
      for (let number = 0; number < MAX_PAGES; number++) {
        const variables: object = { after, filter }
        const { predictions } = await api.request<{ predictions: Connection<PredictionTimes> }>(
          HISTORY,
          variables,
        )
        for (const { node } of predictions.edges) record(node)
        if (!predictions.pageInfo.hasNextPage) {
          truncatedAt = null
          return
        }
        after = predictions.pageInfo.endCursor
      }
      truncatedAt = PAGE_SIZE * MAX_PAGES
    },
  }
}
