/**
 * When what became of the app's predictions, of the last day: for the plot, whatever filter is chosen.
 * Invariant: what is older than what is known changes nothing, be it heard or read.
 */
import type { Api } from './api.ts'
import { MOMENTS, type Moments, type Page } from './documents.ts'

export interface Past {
  /** By id; changed in place. */
  readonly moments: ReadonlyMap<string, Moments>
  /** There are more than are worth reading: so many are known, the newest. */
  readonly most: number | null
  hear(moments: Moments): void
  /** Forgets what is too old for any plot. */
  prune(): void
  /** As much as is worth a plot: a page after the other. */
  read(): Promise<void>
}

/** What ended in the last hour may have waited long. */
const DAY_MS = 24 * 60 * 60 * 1000
const PAGE = 100
const MOST_PAGES = 20

export function createPast(api: Pick<Api, 'ask' | 'now'>): Past {
  const moments = new Map<string, Moments>()
  let most: number | null = null
  const oldest = () => api.now() - DAY_MS

  function hear(told: Moments): void {
    const known = moments.get(told.id)
    if (known !== undefined && known.updatedAt > told.updatedAt) return
    const { id, status, createdAt, submittedAt, finishedAt, updatedAt } = told
    moments.set(id, { id, status, createdAt, submittedAt, finishedAt, updatedAt })
  }

  return {
    moments,
    get most() {
      return most
    },
    hear,

    prune() {
      for (const [id, { createdAt, finishedAt }] of moments)
        if (Date.parse(finishedAt ?? createdAt) < oldest()) moments.delete(id)
    },

    async read() {
      const filter = { createdAfter: new Date(oldest()).toISOString() }
      let after: string | null = null
      for (let number = 0; number < MOST_PAGES; number++) {
        const variables: object = { after, filter }
        const { predictions } = await api.ask<{ predictions: Page<Moments> }>(MOMENTS, variables)
        for (const { node } of predictions.edges) hear(node)
        if (!predictions.pageInfo.hasNextPage) {
          most = null
          return
        }
        after = predictions.pageInfo.endCursor
      }
      most = PAGE * MOST_PAGES
    },
  }
}
