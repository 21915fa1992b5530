import { expect, test } from 'vitest'
import { createSubscriptionBudget } from '../../src/subscriptions/subscription-budget.ts'

const MB = 1024 * 1024
/** 32 MB an app, 64 MB in total. */
const SMALL = { maxConnectionsPerApp: 1, maxConnections: 1 }

test.each([
  ['token', 4, { appId: 'a', tokenId: 't' }],
  ['app', 32, { appId: 'a', tokenId: null }],
] as const)('the budget of one %s is %i MB, and of others is not touched', (owner, megabytes, holder) => {
  const budget = createSubscriptionBudget(SMALL)
  const full = { ...holder, bytes: megabytes * MB }
  expect(budget.findExceeded(full)).toBeNull()
  budget.add(full)
  expect(budget.findExceeded({ ...holder, bytes: 1 })).toEqual({ owner, maxBytes: full.bytes })
  expect(budget.findExceeded({ appId: 'b', tokenId: 'u', bytes: 4 * MB })).toBeNull()
  budget.remove(full)
  expect(budget.findExceeded(full)).toBeNull()
})

test('all apps together have 64 MB, and more if more connections are allowed', () => {
  const budgets = [SMALL, { maxConnectionsPerApp: 1, maxConnections: 10_000 }].map(createSubscriptionBudget)
  const exceeded = budgets.map(budget => {
    for (const appId of ['a', 'b']) budget.add({ appId, tokenId: null, bytes: 32 * MB })
    return budget.findExceeded({ appId: 'c', tokenId: null, bytes: 1 })
  })
  expect(exceeded).toEqual([{ owner: 'gateway', maxBytes: 64 * MB }, null])
})

test('an app that may have 10,000 connections has 12 KiB for each', () => {
  const budget = createSubscriptionBudget({ maxConnectionsPerApp: 10_000, maxConnections: 100_000 })
  const bytes = 10_000 * 12 * 1024
  expect(budget.findExceeded({ appId: 'a', tokenId: null, bytes })).toBeNull()
  expect(budget.findExceeded({ appId: 'a', tokenId: null, bytes: bytes + 1 })).toMatchObject({ owner: 'app' })
})
