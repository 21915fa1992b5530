import { expect, test, vi } from 'vitest'
import { fullScope, PERMISSIONS } from '../../../src/domain/access-scope.ts'
import type { AppId } from '../../../src/domain/prediction.ts'
import { createAdmissions } from '../../../src/server/operation/admission.ts'

const CALLER = {
  scope: fullScope('app' as AppId),
  permissions: PERMISSIONS,
  grant: null,
  keyPrefix: '',
  expiresAt: null,
  credentialHash: '',
}

/** Admissions of a gateway in which authentication gives `result` and the rate limit `retryAfterMs`. */
function admissionsOf(result: typeof CALLER | null | { retryAfterMs: number }, retryAfterMs: number | null) {
  const parts = {
    consumeCaller: vi.fn(async () => retryAfterMs),
    nextSlice: vi.fn(async () => {}),
    countRejection: vi.fn(),
  }
  return { ...parts, ...createAdmissions({ authenticate: async () => result }, parts, parts) }
}

test('an admitted caller has taken a point of its rate and no slice: its first operation may be behind it', async () => {
  const { admitCaller, consumeCaller, nextSlice, countRejection } = admissionsOf(CALLER, null)
  expect(await admitCaller('Bearer key', '127.0.0.1')).toEqual({ kind: 'admitted', caller: CALLER })
  expect(consumeCaller).toHaveBeenCalledExactlyOnceWith(CALLER)
  expect(nextSlice).not.toHaveBeenCalled()
  expect(countRejection).not.toHaveBeenCalled()
})

test('an admitted operation has taken a point of its rate and a slice of its app', async () => {
  const { admitOperation, consumeCaller, nextSlice } = admissionsOf(CALLER, null)
  expect(await admitOperation(CALLER)).toBeNull()
  expect(consumeCaller).toHaveBeenCalledExactlyOnceWith(CALLER)
  expect(nextSlice).toHaveBeenCalledExactlyOnceWith('app')
})

test('without a valid credential nothing is counted for an app', async () => {
  const unknown = admissionsOf(null, null)
  expect(await unknown.admitCaller('Bearer guess', '127.0.0.1')).toEqual({ kind: 'unauthenticated' })
  const delayed = admissionsOf({ retryAfterMs: 7 }, null)
  expect(await delayed.admitCaller('Bearer guess', '127.0.0.1')).toEqual({
    kind: 'rate-limited',
    retryAfterMs: 7,
  })
  for (const { consumeCaller, nextSlice, countRejection } of [unknown, delayed]) {
    expect(consumeCaller).not.toHaveBeenCalled()
    expect(nextSlice).not.toHaveBeenCalled()
    expect(countRejection).not.toHaveBeenCalled()
  }
})

test('a caller or an operation above the rate is counted for its app, and takes no slice', async () => {
  const { admitCaller, admitOperation, nextSlice, countRejection } = admissionsOf(CALLER, 5)
  expect(await admitCaller('Bearer key', '127.0.0.1')).toEqual({ kind: 'rate-limited', retryAfterMs: 5 })
  expect(await admitOperation(CALLER)).toBe(5)
  expect(countRejection.mock.calls).toEqual([
    ['app', 'RATE_LIMITED'],
    ['app', 'RATE_LIMITED'],
  ])
  expect(nextSlice).not.toHaveBeenCalled()
})
