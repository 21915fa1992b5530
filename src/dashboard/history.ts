/**
 * When what became of the app's predictions, of the last day: for the plot, whatever filter is chosen.
 * Invariant: what is older than what is known changes nothing, be it heard or read.
 */

import { type Connection, HISTORY, type PredictionTimes } from './documents.ts'
import type { GatewayApi } from './gateway-api.ts'

export interface PredictionHistory {
  /** By id; changed in place. */
  readonly timesById: ReadonlyMap<string, PredictionTimes>
  /** There are more than are worth reading: so many are known, the newest. */
  readonly truncatedAt: number | null
  record(times: PredictionTimes): void
  /** Forgets what is too old for any plot. */
  prune(): void
  /** As much as is worth a plot: a page after the other. */
  load(): Promise<void>
}

/** What ended in the last hour may have waited long. */
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
