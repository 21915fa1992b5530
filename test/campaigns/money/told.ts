/**
 * What the apps were told, as it came.
 * Invariant: nothing is forgotten; an answer that nobody may get is kept as `wrong`.
 */
import { decodeIdOf } from '../../../src/graphql/global-id.ts'
import type { Cancel, Promised } from './case.ts'

export interface Told {
  readonly promises: readonly Promised[]
  readonly cancels: readonly Cancel[]
  readonly wrong: string | null
  /** Once for a key, before it is first sent. Answers with what takes its answers. */
  expect(promise: Omit<Promised, 'ids'>): (globalId: string) => void
  canceled(cancel: Cancel): void
  fail(what: string): void
}

export function createTold(): Told {
  const promises: (Promised & { ids: string[] })[] = []
  const cancels: Cancel[] = []
  let wrong: string | null = null
  return {
    promises,
    cancels,
    get wrong() {
      return wrong
    },
    expect(promise) {
      const ids: string[] = []
      promises.push({ ...promise, ids })
      return globalId => {
        const id = decodeIdOf('Prediction', globalId)
        if (!ids.includes(id)) ids.push(id)
      }
    },
    canceled: cancel => void cancels.push(cancel),
    fail(what) {
      wrong ??= what
    },
  }
}
