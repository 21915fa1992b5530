/**
 * What the apps were told, as it came.
 * Invariant: nothing is forgotten; an answer that nobody may get is kept as `wrong`.
 */
import { decodeIdOf } from '../../../src/graphql/global-id.ts'
import type { AppRequest, CancelRecord } from './evidence.ts'

export interface AppHistory {
  readonly requests: readonly AppRequest[]
  readonly cancels: readonly CancelRecord[]
  readonly breach: string | null
  /** Once for a key, before it is first sent. Answers with what takes its answers. */
  registerRequest(request: Omit<AppRequest, 'ids'>): (globalId: string) => void
  recordCancel(cancel: CancelRecord): void
  recordBreach(what: string): void
}

export function createAppHistory(): AppHistory {
  const requests: (AppRequest & { ids: string[] })[] = []
  const cancels: CancelRecord[] = []
  let breach: string | null = null
  return {
    requests,
    cancels,
    get breach() {
      return breach
    },
    registerRequest(request) {
      const ids: string[] = []
      requests.push({ ...request, ids })
      return globalId => {
        const id = decodeIdOf('Prediction', globalId)
        if (!ids.includes(id)) ids.push(id)
      }
    },
    recordCancel: cancel => void cancels.push(cancel),
    recordBreach(what) {
      breach ??= what
    },
  }
}
