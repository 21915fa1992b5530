/**
 * The answers that the apps received.
 * Invariant: nothing is dropped. An answer that must not occur is kept as `breach`.
 */
import { decodeIdOf } from '../../../src/graphql/global-id.ts'
import type { AppRequest, CancelRecord } from './evidence.ts'

export interface AppHistory {
  readonly requests: readonly AppRequest[]
  readonly cancels: readonly CancelRecord[]
  readonly breach: string | null
  /** Called once for each key, before its first request. Returns the recorder of its answers. */
  registerRequest(request: Omit<AppRequest, 'ids'>): (globalId: string) => void
  recordCancel(cancel: CancelRecord): void
  recordBreach(description: string): void
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
    recordBreach(description) {
      breach ??= description
    },
  }
}
