import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { MAX_COUNTED_JOB_MS } from '../../src/domain/fair-queue.ts'
import type { PlannedWrite } from '../../src/domain/plan.ts'
import {
  type ChangeFacts,
  changeFactsNeeded,
  findStateChange,
  planChange,
} from '../../src/domain/plan-change.ts'
import {
  type AppId,
  hasSlot,
  type Job,
  type StateChange,
  SUBMISSIONS,
  TRACKINGS,
  type Transition,
  toPredictionState,
} from '../../src/domain/prediction.ts'
import type { SubmitCircuit } from '../../src/domain/submit-circuit.ts'
import { canceled, submitAnswered, webhookReceived } from '../../src/domain/transitions.ts'
import { createPlanModel } from '../support/plan-model.ts'
import { COMPLETED, draft, HOUR, newPrediction, PRICE, pollSucceededAt, SECOND, T } from '../support/store.ts'

const job = (over: Partial<Job> = {}): Job => ({
  ...newPrediction(),
  submission: 'none',
  tracking: null,
  fence: 0,
  submitAttempts: 0,
  dueAt: T,
  imageVerifiedAt: null,
  imageCheckFailures: 0,
  upstreamImageUrl: null,
  submitStartedAt: null,
  lastSeenRunningAt: null,
  completedWithoutOutputSince: null,
  ...over,
})
const begun = (over: Partial<Job> = {}) =>
  job({ submission: 'begun', submitStartedAt: T, submitAttempts: 2, version: 5, ...over })
const NOW = T + 10 * SECOND

const writesOf = (before: Job, change: StateChange, facts: ChangeFacts = {}): readonly PlannedWrite[] =>
  planChange(before, change, facts, NOW).writes
const writeOf = <Kind extends PlannedWrite['kind']>(writes: readonly PlannedWrite[], kind: Kind) =>
  writes.find(write => write.kind === kind)
const kindsOf = (...args: Parameters<typeof writesOf>) => writesOf(...args).map(({ kind }) => kind)

describe('a state change', () => {
  test('is null if the fence is not the row’s, without asking the transition', () => {
    const throws: Transition = () => {
      throw new Error('asked')
    }
    expect(findStateChange(job({ fence: 2 }), throws, 1)).toBeNull()
    expect(findStateChange(job({ fence: 2 }), canceled(T), 2)).toMatchObject({ status: 'CANCELED' })
    expect(findStateChange(job({ fence: 2 }), canceled(T), null)).not.toBeNull()
    expect(findStateChange(job({ status: 'CANCELED' }), canceled(T), null)).toBeNull()
  })
})

describe('facts', () => {
  test.each<[string, StateChange, (keyof ChangeFacts)[]]>([
    ['of a poll', { dueAt: T }, []],
    ['of a rejected POST', { submitCircuit: null }, ['submitCircuit']],
    [
      'of an accepted POST',
      { submission: 'accepted', submitCircuit: null },
      ['submitCircuit', 'concurrencyLimit'],
    ],
    ['of a failed POST', { submitCircuit: { reason: 'unknown', until: T } }, ['submitCircuit']],
    [
      'of a throttled POST',
      { submitCircuit: { reason: 'throttled', until: T } },
      ['submitCircuit', 'concurrencyLimit', 'activeJobs'],
    ],
  ])('%s are those that its rules need', (_, change, names) => {
    const needed = Object.entries(changeFactsNeeded(change)).filter(([, isNeeded]) => isNeeded)
    expect(needed.map(([name]) => name)).toEqual(names)
    for (const name of names) {
      const all: ChangeFacts = { submitCircuit: null, concurrencyLimit: null, activeJobs: 1 }
      delete all[name]
      expect(() => writesOf(begun(), change, all)).toThrow(`the fact ${name} was not loaded`)
    }
  })
})

describe('the plan', () => {
  test('of a visible change has the next version, the time of the change, and an event with the new state', () => {
    const { result, writes } = planChange(begun(), { status: 'PROCESSING', startedAt: NOW }, {}, NOW)
    expect(result).toEqual({
      ...begun(),
      version: 6,
      status: 'PROCESSING',
      startedAt: NOW,
      updatedAt: NOW,
    })
    expect(writes).toEqual([
      {
        kind: 'updatePrediction',
        id: result.id,
        version: 5,
        fields: { status: 'PROCESSING', startedAt: NOW, updatedAt: NOW },
      },
      {
        kind: 'insertEvent',
        event: {
          appId: 'app',
          predictionId: result.id,
          type: 'STATUS_CHANGED',
          previousStatus: 'QUEUED',
          occurredAt: NOW,
          state: toPredictionState(result),
        },
      },
    ])
  })

  test('of any other change has the next version, and neither an event nor another time', () => {
    const { result, writes } = planChange(begun(), { dueAt: NOW, status: 'QUEUED' }, {}, NOW)
    expect(result).toEqual({ ...begun(), version: 6, dueAt: NOW })
    expect(writes).toEqual([
      { kind: 'updatePrediction', id: result.id, version: 5, fields: { dueAt: NOW, status: 'QUEUED' } },
    ])
  })

  test('has an event if only the error or only the cost changes', () => {
    const failed = job({ status: 'FAILED', error: 'TIMED_OUT' })
    expect(kindsOf(failed, { error: 'GENERATION_FAILED' })).toContain('insertEvent')
    expect(kindsOf(failed, { cost: 0 })).toEqual(['updatePrediction', 'addSpend', 'insertEvent'])
    expect(kindsOf(failed, { cost: PRICE, error: 'TIMED_OUT' })).toEqual(['updatePrediction'])
  })

  test('of a refund takes it from the month of the prediction', () => {
    const before = job({ createdAt: Date.UTC(2027, 1) - 1 })
    const { writes } = planChange(before, { cost: 0 }, {}, Date.UTC(2027, 1))
    expect(writeOf(writes, 'addSpend')).toEqual({
      kind: 'addSpend',
      appId: 'app',
      month: Date.UTC(2027, 0),
      amount: -PRICE,
    })
  })

  test('of an illegal transition throws', () => {
    expect(() => writesOf(job({ status: 'COMPLETED' }), { status: 'QUEUED' })).toThrow(
      'illegal transition of 018f0000-0000-7000-8000-000000000000: COMPLETED to QUEUED',
    )
    expect(() => writesOf(job({ status: 'FAILED', error: 'NO_OUTPUT' }), { status: 'COMPLETED' })).toThrow()
    expect(kindsOf(job({ status: 'FAILED', error: 'TIMED_OUT' }), { status: 'COMPLETED' })).toContain(
      'insertEvent',
    )
  })

  test('deletes the attempt of a POST that was not sent', () => {
    const circuit = { reason: 'unreachable', until: T } as const
    const change = { submission: 'none', submitStartedAt: null, submitCircuit: circuit } as const
    expect(writeOf(writesOf(begun(), change, { submitCircuit: null }), 'deleteSubmitAttempt')).toEqual({
      kind: 'deleteSubmitAttempt',
      predictionId: begun().id,
      attempt: 2,
    })
  })
})

describe('a slot', () => {
  test('is released when the job had one and has none, for whatever reason', () => {
    for (const submission of SUBMISSIONS)
      for (const tracking of [null, ...TRACKINGS])
        for (const next of SUBMISSIONS)
          for (const nextTracking of [null, ...TRACKINGS]) {
            const before = begun({ submission, tracking })
            const after = { submission: next, tracking: nextTracking }
            expect(kindsOf(before, after).includes('releaseSlot')).toBe(hasSlot(before) && !hasSlot(after))
          }
  })

  test.each<[string, number | null, number]>([
    ['since its POST', T, 10 * SECOND],
    ['for an hour at most', T - 2 * HOUR, MAX_COUNTED_JOB_MS],
    ['for no time if the clock was set back', T + HOUR, 0],
    ['for no time if it was never sent', null, 0],
  ])('was held %s', (_, submitStartedAt, heldMs) => {
    const before = job({ submission: 'accepted', tracking: 'active', submitStartedAt })
    const write = writeOf(writesOf(before, { tracking: null }), 'releaseSlot')
    expect(write).toEqual({ kind: 'releaseSlot', appId: 'app', heldMs })
  })
})

describe('the submit circuit and the concurrency limit', () => {
  const circuit = (over: Partial<SubmitCircuit> = {}): SubmitCircuit => ({
    reason: 'unknown',
    since: T,
    until: T,
    version: 7,
    halfOpen: true,
    probePredictionId: begun().id,
    failures: 0,
    ...over,
  })
  const limit = { concurrency: 8, ceiling: 16, accepted: 0, since: T }
  const answered: StateChange = { submission: 'none', submitCircuit: null }
  const accepted: StateChange = { submission: 'accepted', tracking: 'active', submitCircuit: null }
  const throttled: StateChange = {
    submission: 'none',
    submitCircuit: { reason: 'throttled', until: NOW + HOUR },
  }

  test('closes by the answer to its own probe alone', () => {
    const closes = (probePredictionId: string | null) =>
      writeOf(
        writesOf(begun(), answered, { submitCircuit: circuit({ probePredictionId }) }),
        'closeSubmitCircuit',
      )
    expect(closes(begun().id)).toEqual({ kind: 'closeSubmitCircuit', version: 7 })
    expect([closes('another'), closes(null)]).toEqual([undefined, undefined])
    expect(kindsOf(begun(), answered, { submitCircuit: null })).not.toContain('closeSubmitCircuit')
  })

  test('opens by a failure, and a failed probe waits longer', () => {
    const change: StateChange = { submission: 'unknown', submitCircuit: { reason: 'unknown', until: NOW } }
    const opened = (submitCircuit: SubmitCircuit | null) =>
      writeOf(writesOf(begun(), change, { submitCircuit }), 'openSubmitCircuit')
    expect(opened(null)).toMatchObject({ circuit: { reason: 'unknown', until: NOW, failures: 0 } })
    expect(opened(circuit())).toMatchObject({ circuit: { until: NOW + 2 * SECOND, failures: 1 } })
  })

  test('a throttled submit halves the active jobs, itself included once', () => {
    const facts = { submitCircuit: null, concurrencyLimit: null, activeJobs: 10 }
    const limitAfter = (before: Job) => writeOf(writesOf(before, throttled, facts), 'setConcurrencyLimit')
    expect(limitAfter(begun())).toMatchObject({ limit: { concurrency: 5, ceiling: 10, since: NOW } })
    expect(limitAfter(job())).toMatchObject({ limit: { concurrency: 5, ceiling: 11 } })
  })

  test('a submit that began before the last decrease decreases nothing', () => {
    const facts = { submitCircuit: null, concurrencyLimit: limit, activeJobs: 10 }
    expect(kindsOf(begun(), throttled, facts)).toContain('openSubmitCircuit')
    expect(kindsOf(begun(), throttled, facts)).not.toContain('setConcurrencyLimit')
  })

  test('accepted submits raise the limit until it is dropped; without one nothing is written', () => {
    const after = (concurrencyLimit: typeof limit | null) =>
      writeOf(writesOf(begun(), accepted, { submitCircuit: null, concurrencyLimit }), 'setConcurrencyLimit')
    expect(after(null)).toBeUndefined()
    expect(after(limit)).toMatchObject({ limit: { concurrency: 8, accepted: 1 } })
    expect(after({ ...limit, accepted: 7 })).toMatchObject({ limit: { concurrency: 9, accepted: 0 } })
    expect(after({ ...limit, concurrency: 15, accepted: 14 })).toMatchObject({ limit: null })
  })
})

test('plans carried out in order keep the books: events, versions, spend, slots', () => {
  const APPS = ['a' as AppId, 'b' as AppId]
  const steps = fc.array(
    fc.record({
      job: fc.nat(3),
      step: fc.constantFrom(
        'begin',
        'accepted',
        'rejected',
        'unsent',
        'throttled',
        'unknown',
        'processing',
        'completed',
        'canceled',
        'webhook',
      ),
      waitMs: fc.constantFrom(0, SECOND, HOUR),
    }),
    { maxLength: 30 },
  )
  fc.assert(
    fc.property(steps, steps => {
      const model = createPlanModel({
        maxInFlight: null,
        maxQueued: null,
        submitsPerMinute: null,
        monthlyBudget: null,
        weight: 1,
      })
      const ids = ['p0', 'p1', 'p2', 'p3']
      for (const [i, id] of ids.entries())
        model.create({ id, draft: draft(APPS[i % 2]!), idempotency: null, tokenLimits: null, now: T })
      let now = T
      let visibleChanges = 0
      let releases = 0
      for (const { job: index, step, waitMs } of steps) {
        now += waitMs
        const id = ids[index]!
        const before = model.job(id)
        if (step === 'begin') {
          if (before.status === 'QUEUED' && before.submission === 'none') model.beginSubmit(id, now)
          continue
        }
        const outcomes = {
          accepted: submitAnswered({ kind: 'accepted', upstreamId: `up-${id}` }, now, now),
          rejected: submitAnswered({ kind: 'rejected' }, now, now),
          unsent: submitAnswered({ kind: 'unsent' }, now, now),
          throttled: submitAnswered({ kind: 'throttled', retryAfterMs: null }, now, now),
          unknown: submitAnswered({ kind: 'unknown' }, now, now),
          processing: pollSucceededAt({ status: 'processing' }, now, now),
          completed: pollSucceededAt(COMPLETED, now, now),
          canceled: canceled(now),
          webhook: webhookReceived(`up-${id}`, now),
        }
        const result = model.change(id, outcomes[step], now)
        const after = model.job(id)
        if (result === null) {
          expect(after).toBe(before)
          continue
        }
        expect(result).toEqual(after)
        expect(after.version).toBe(before.version + 1)
        const isVisible =
          after.status !== before.status || after.error !== before.error || after.cost !== before.cost
        if (isVisible) visibleChanges++
        expect(after.updatedAt).toBe(isVisible ? now : before.updatedAt)
        if (hasSlot(before) && !hasSlot(after)) releases++
        expect(model.events).toHaveLength(ids.length + visibleChanges)
        if (isVisible) expect(model.events.at(-1)!.state).toEqual(toPredictionState(after))
        expect(model.released).toHaveLength(releases)
      }
      for (const app of APPS) {
        const costs = model.jobs().filter(({ appId }) => appId === app)
        expect(model.spent(app, T)).toBe(costs.reduce((sum, { cost }) => sum + cost, 0))
      }
    }),
  )
})
