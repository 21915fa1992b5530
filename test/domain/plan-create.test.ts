import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { AppLimits } from '../../src/domain/app-limits.ts'
import type { KeyHolder } from '../../src/domain/idempotency.ts'
import {
  type CreateFacts,
  type CreateRequest,
  createFactsNeeded,
  planCreate,
} from '../../src/domain/plan-create.ts'
import { type AppId, toPredictionState } from '../../src/domain/prediction.ts'
import { createPlanModel } from '../support/plan-model.ts'
import { draft, HOUR, MINUTE, newPrediction, PRICE, T, UNKNOWN_ID } from '../support/store.ts'

const APP = 'app' as AppId
const DAY = 24 * HOUR
const ID = '018f0000-0000-7000-8000-000000000001'
const NO_LIMITS: AppLimits = {
  maxInFlight: null,
  maxQueued: null,
  submitsPerMinute: null,
  monthlyBudget: null,
  weight: 1,
}
const KEY = { restrictionKey: '', key: 'k', fingerprint: 'a' }

const request = (over: Partial<CreateRequest> = {}): CreateRequest => ({
  id: ID,
  draft: draft(APP),
  idempotency: null,
  tokenLimits: null,
  now: T,
  ...over,
})
const free = (over: Partial<CreateFacts> = {}): CreateFacts => ({
  keyHolder: null,
  limits: NO_LIMITS,
  usage: {},
  ...over,
})
const holder = (createdAt: number): KeyHolder => ({
  prediction: newPrediction({ createdAt, version: 3 }),
  fingerprint: 'a',
})
const kinds = (facts: CreateFacts, over: Partial<CreateRequest> = {}) =>
  planCreate(request(over), facts).writes.map(({ kind }) => kind)

describe('facts', () => {
  test('a create without a key and a token needs the limits alone', () => {
    expect(createFactsNeeded(request(), null)).toEqual({ limits: true, tokenSubmits: false })
  })

  test('only a token with limits needs the count of its submits', () => {
    const withToken = draft(APP, { tokenId: 't' })
    const tokenLimits = { maxSubmits: 1 }
    const needs = (over: Partial<CreateRequest>) => createFactsNeeded(request(over), null).tokenSubmits
    expect(needs({ draft: withToken, tokenLimits })).toBe(true)
    expect(needs({ draft: withToken })).toBe(false)
    expect(needs({ tokenLimits })).toBe(false)
  })

  test('a key that is in use needs nothing else, an expired one everything', () => {
    const used = request({
      idempotency: KEY,
      draft: draft(APP, { tokenId: 't' }),
      tokenLimits: { maxSubmits: 1 },
    })
    expect(createFactsNeeded(used, holder(T))).toEqual({ limits: false, tokenSubmits: false })
    expect(createFactsNeeded(used, holder(T - DAY))).toEqual({ limits: true, tokenSubmits: true })
  })

  test('a plan with a missing fact throws', () => {
    expect(() => planCreate(request(), { keyHolder: null })).toThrow('the fact limits was not loaded')
    expect(() => planCreate(request(), { keyHolder: null, limits: NO_LIMITS })).toThrow('usage')
    expect(() => planCreate(request(), free({ limits: { ...NO_LIMITS, monthlyBudget: 1 } }))).toThrow('spent')
    expect(() => planCreate(request(), free({ limits: { ...NO_LIMITS, maxQueued: 1 } }))).toThrow('queued')
    expect(() => planCreate(request(), free({ limits: { ...NO_LIMITS, submitsPerMinute: 1 } }))).toThrow(
      'recentSubmitAt',
    )
    const withToken = request({ draft: draft(APP, { tokenId: 't' }), tokenLimits: { maxSubmits: 1 } })
    expect(() => planCreate(withToken, free())).toThrow('tokenSubmits')
  })
})

describe('the plan', () => {
  test('of a create has the row, its event, its spend and the start of the backlog before it', () => {
    const { result, writes } = planCreate(request({ idempotency: KEY }), free())
    if (result.kind !== 'created') throw new Error(result.kind)
    const { prediction } = result
    expect(prediction).toEqual(newPrediction({ id: ID, appId: APP }))
    expect(writes).toEqual([
      { kind: 'startBacklog', appId: APP, now: T },
      {
        kind: 'insertPrediction',
        job: expect.objectContaining({ ...prediction, submission: 'none', fence: 0, dueAt: T }),
        idempotency: KEY,
      },
      { kind: 'addSpend', appId: APP, month: Date.UTC(2027, 0), amount: PRICE },
      {
        kind: 'insertEvent',
        event: {
          appId: APP,
          predictionId: ID,
          type: 'QUEUED',
          previousStatus: null,
          occurredAt: T,
          state: toPredictionState(prediction),
        },
      },
    ])
  })

  test('is the same each time it is made', () => {
    const plan = () => planCreate(request({ idempotency: KEY }), free({ keyHolder: holder(T - DAY) }))
    expect(plan()).toEqual(plan())
  })

  test('of a create that costs nothing adds no spend', () => {
    expect(kinds(free(), { draft: { ...draft(APP), cost: 0 } })).not.toContain('addSpend')
  })

  test('has metadata as JSON gives it back, and nothing that the draft has beside its fields', () => {
    const metadata = { __proto__: null, zero: -0, at: new Date(T), gone: undefined, big: Infinity }
    const { result } = planCreate(
      request({ draft: { ...draft(APP, { metadata }), other: 1 } as never }),
      free(),
    )
    expect(result).toEqual({
      kind: 'created',
      prediction: newPrediction({
        id: ID,
        metadata: { zero: 0, at: new Date(T).toISOString(), big: null },
      }),
    })
  })

  test('for an app that does not exist is a row, which the engine refuses', () => {
    expect(kinds({ keyHolder: null, limits: null })).toContain('insertPrediction')
  })
})

describe('an idempotency key', () => {
  test.each<[ageMs: number, fingerprint: string, kind: string]>([
    [0, 'a', 'repeated'],
    [DAY - 1, 'a', 'repeated'],
    [DAY - 1, 'b', 'conflict'],
    [DAY, 'a', 'created'],
    [DAY, 'b', 'created'],
    // The clock was set back.
    [-HOUR, 'a', 'repeated'],
  ])('of a prediction %i ms old with the fingerprint %s is %s', (ageMs, fingerprint, kind) => {
    const idempotency = { ...KEY, fingerprint }
    const { result, writes } = planCreate(request({ idempotency }), free({ keyHolder: holder(T - ageMs) }))
    expect(result.kind).toBe(kind)
    if (kind === 'created')
      expect(writes[0]).toEqual({ kind: 'forgetIdempotencyKey', id: UNKNOWN_ID, version: 3 })
    else expect([result, writes]).toEqual([{ kind, prediction: holder(T - ageMs).prediction }, []])
  })

  test('that is in use answers whatever the limits, and one that has expired is kept if a limit refuses', () => {
    const limits = { ...NO_LIMITS, maxQueued: 0 }
    const planWith = (createdAt: number) =>
      planCreate(request({ idempotency: KEY }), {
        keyHolder: holder(createdAt),
        limits,
        usage: { queued: 0 },
      })
    expect(planWith(T).result.kind).toBe('repeated')
    expect(planWith(T - DAY)).toEqual({
      result: { kind: 'refused', violation: { code: 'QUEUE_FULL' } },
      writes: [],
    })
  })
})

describe('limits', () => {
  const violationOf = (facts: CreateFacts, over: Partial<CreateRequest> = {}) => {
    const { result, writes } = planCreate(request(over), facts)
    if (result.kind === 'refused') expect(writes).toEqual([])
    return result.kind === 'refused' ? result.violation : null
  }

  test('a token that has created `maxSubmits` is refused before every limit of its app', () => {
    const over = { draft: draft(APP, { tokenId: 't' }), tokenLimits: { maxSubmits: 2 } }
    const facts = free({ limits: { ...NO_LIMITS, maxQueued: 0 }, usage: { queued: 0 } })
    expect(violationOf({ ...facts, tokenSubmits: 2 }, over)).toEqual({ code: 'FORBIDDEN' })
    expect(violationOf({ ...facts, tokenSubmits: 1 }, over)).toEqual({ code: 'QUEUE_FULL' })
    expect(violationOf(free({ tokenSubmits: 1 }), over)).toBeNull()
  })

  test('a budget includes the cost of the new prediction', () => {
    const limits = { ...NO_LIMITS, monthlyBudget: 2 * PRICE }
    expect(violationOf(free({ limits, usage: { spent: PRICE } }))).toBeNull()
    expect(violationOf(free({ limits, usage: { spent: PRICE + 1 } }))).toEqual({
      code: 'BUDGET_EXCEEDED',
      budget: 2 * PRICE,
      spent: PRICE + 1,
    })
  })

  test('a full minute says how long it takes, also if the clock was set back a little', () => {
    const limits = { ...NO_LIMITS, submitsPerMinute: 1 }
    const violation = (recentSubmitAt: number | null) =>
      violationOf(free({ limits, usage: { recentSubmitAt } }))
    expect(violation(null)).toBeNull()
    expect(violation(T - MINUTE + 1)).toEqual({ code: 'RATE_LIMITED', retryAfterMs: 1 })
    expect(violation(T + 5)).toEqual({ code: 'RATE_LIMITED', retryAfterMs: MINUTE + 5 })
  })
})

test('plans carried out in order never exceed a limit, and the spend is the sum of the costs', () => {
  const limits = fc.record({
    maxInFlight: fc.constant(null),
    weight: fc.constant(1),
    maxQueued: fc.option(fc.nat(5)),
    submitsPerMinute: fc.option(fc.integer({ min: 1, max: 5 })),
    monthlyBudget: fc.option(fc.nat(10)),
  })
  const submits = fc.array(
    fc.record({
      app: fc.constantFrom('a' as AppId, 'b' as AppId),
      cost: fc.nat(3),
      waitMs: fc.constantFrom(0, 1000, MINUTE, 13 * HOUR),
      key: fc.option(fc.constantFrom('k', 'l')),
      tokenId: fc.option(fc.constantFrom('t', 'u')),
      cancels: fc.boolean(),
    }),
    { maxLength: 40 },
  )
  fc.assert(
    fc.property(limits, submits, (limits, submits) => {
      const model = createPlanModel(limits)
      let now = T
      let count = 0
      for (const { app, cost, waitMs, key, tokenId, cancels } of submits) {
        now += waitMs
        const id = `p${count++}`
        const before = model.jobs().length
        const result = model.create({
          id,
          draft: { ...draft(app, { tokenId }), cost },
          idempotency: key === null ? null : { restrictionKey: '', key, fingerprint: String(cost) },
          tokenLimits: tokenId === null ? null : { maxSubmits: 3 },
          now,
        })
        expect(model.jobs().length - before).toBe(result.kind === 'created' ? 1 : 0)
        if (result.kind === 'created') {
          expect(model.job(id)).toEqual(expect.objectContaining(result.prediction))
          if (cancels) model.change(id, () => ({ status: 'CANCELED', cost: 0 }), now)
        }
        const own = model.jobs().filter(job => job.appId === app)
        const sameMonth = own.filter(
          ({ createdAt }) => new Date(createdAt).getUTCMonth() === new Date(now).getUTCMonth(),
        )
        const spent = sameMonth.reduce((sum, job) => sum + job.cost, 0)
        expect(model.spent(app, now)).toBe(spent)
        expect(spent).toBeLessThanOrEqual(limits.monthlyBudget ?? Infinity)
        expect(own.filter(({ status }) => status === 'QUEUED').length).toBeLessThanOrEqual(
          limits.maxQueued ?? Infinity,
        )
        expect(own.filter(({ createdAt }) => createdAt > now - MINUTE).length).toBeLessThanOrEqual(
          limits.submitsPerMinute ?? Infinity,
        )
        for (const token of ['t', 'u'])
          expect(model.jobs().filter(job => job.tokenId === token).length).toBeLessThanOrEqual(3)
      }
      expect(model.events.filter(({ type }) => type === 'QUEUED')).toHaveLength(model.jobs().length)
    }),
  )
})
