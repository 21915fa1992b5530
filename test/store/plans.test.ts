import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { fullScope } from '../../src/domain/access-scope.ts'
import type { AppLimits } from '../../src/domain/app-limits.ts'
import type { Idempotency } from '../../src/domain/idempotency.ts'
import type { CreateResult, TokenLimits } from '../../src/domain/plan-create.ts'
import { type Draft, type Job, type Output, STATUSES } from '../../src/domain/prediction.ts'
import { canceled } from '../../src/domain/transitions.ts'
import { ENGINES } from '../support/engines.ts'
import {
  addPrediction,
  addPredictions,
  claimReadySubmits,
  createPrediction,
  draft,
  eventsOf,
  fixture,
  INPUT,
  jobOf,
  PRICE,
  pageRequest,
  SECOND,
  T,
} from '../support/store.ts'

const SUBMITS = 200

describe.each(ENGINES)('%s', (_, { open }) => {
  describe('200 submits in one tick, each on the state that the one before left', () => {
    type Submit = { over?: Partial<Draft>; idempotency?: Idempotency; tokenLimits?: TokenLimits }

    async function submitAtOnce(limits: Partial<AppLimits>, submit: Submit = {}) {
      const f = await fixture(open)
      await f.store.setLimits(f.app, limits)
      const results = await Promise.all(
        Array.from({ length: SUBMITS }, () =>
          f.store.create(draft(f.app, submit.over), submit.idempotency ?? null, T, submit.tokenLimits),
        ),
      )
      const { predictions } = await f.store.list(fullScope(f.app), pageRequest({ limit: SUBMITS }))
      const events = await eventsOf(f.store, f.app)
      const usage = await f.store.usage(fullScope(f.app), T)
      await f.store.close()
      expect(events).toHaveLength(predictions.length)
      expect(usage).toEqual({
        inFlight: 0,
        queued: predictions.length,
        spent: predictions.length * PRICE,
      })
      return { results, rows: predictions.length }
    }
    const countOf = (results: CreateResult[], expected: object) =>
      results.filter(({ kind, ...rest }) => JSON.stringify({ kind, ...rest }) === JSON.stringify(expected))
        .length
    const created = (results: CreateResult[]) => results.filter(({ kind }) => kind === 'created').length

    test.each<[string, Partial<AppLimits>, object]>([
      [
        'a budget for 10',
        { monthlyBudget: 10 * PRICE },
        { code: 'BUDGET_EXCEEDED', budget: 10 * PRICE, spent: 10 * PRICE },
      ],
      ['a queue of 10', { maxQueued: 10 }, { code: 'QUEUE_FULL' }],
      ['10 submits a minute', { submitsPerMinute: 10 }, { code: 'RATE_LIMITED', retryAfterMs: 60 * SECOND }],
    ])('%s: 10 are created and 190 refused', async (_, limits, violation) => {
      const { results, rows } = await submitAtOnce(limits)
      expect([rows, created(results)]).toEqual([10, 10])
      expect(countOf(results, { kind: 'refused', violation })).toBe(SUBMITS - 10)
    })

    test('a token for 10: 10 are created and 190 refused', async () => {
      const submit = { over: { tokenId: 't' }, tokenLimits: { maxSubmits: 10 } }
      const { results, rows } = await submitAtOnce({}, submit)
      expect([rows, created(results)]).toEqual([10, 10])
      expect(countOf(results, { kind: 'refused', violation: { code: 'FORBIDDEN' } })).toBe(SUBMITS - 10)
    })

    test('one key: one is created, and 199 are repetitions of it, whatever the limits', async () => {
      const { results, rows } = await submitAtOnce(
        { maxQueued: 1 },
        { idempotency: { restrictionKey: '', key: 'k', fingerprint: 'a' } },
      )
      expect([rows, created(results)]).toEqual([1, 1])
      const [first] = results as Extract<CreateResult, { kind: 'created' }>[]
      expect(countOf(results, { kind: 'repeated', prediction: first!.prediction })).toBe(SUBMITS - 1)
    })
  })

  test('a create sees what a cancel in the same tick gave back, and the budget that is left', async () => {
    await using f = await fixture(open)
    await f.store.setLimits(f.app, { monthlyBudget: PRICE, maxQueued: 1 })
    const { id } = await addPrediction(f.store, f.app)
    const results = await Promise.all([
      f.store.create(draft(f.app), null, T),
      f.store.change(id, canceled(T), T),
      f.store.create(draft(f.app), null, T),
      f.store.create(draft(f.app), null, T),
    ])
    expect(results).toMatchObject([
      { kind: 'refused' },
      { status: 'CANCELED', cost: 0 },
      { kind: 'created' },
      { kind: 'refused' },
    ])
  })

  test('changes of one prediction in the same tick are made one after the other', async () => {
    await using f = await fixture(open)
    const { id } = await addPrediction(f.store, f.app)
    const seen: number[] = []
    const raise = (job: Job) => {
      seen.push(job.fence)
      return { fence: job.fence + 1 }
    }
    await Promise.all(Array.from({ length: 50 }, () => f.store.change(id, raise, T)))
    expect(seen).toEqual(Array.from({ length: 50 }, (_, i) => i))
    expect(await jobOf(f.store, id)).toMatchObject({ fence: 50, version: 51 })
  })

  test('a created prediction is what a read returns afterwards, whatever its input', async () => {
    await using f = await fixture(open)
    const text = fc.string({ unit: 'grapheme' })
    const odd = fc.constantFrom<unknown>(
      Object.assign(Object.create(null), { a: 1 }),
      { gone: undefined, at: new Date(T), zero: -0, many: [undefined, Number.NaN] },
      JSON.parse('{"__proto__": {"a": 1}, "constructor": null, "toString": ""}'),
      1e21,
      -0,
      5e-324,
      '\ud800',
      '\0',
    )
    const metadata = fc.oneof(odd, fc.jsonValue(), fc.constant(null))
    await fc.assert(
      fc.asyncProperty(
        text,
        fc.option(text),
        fc.uniqueArray(text, { maxLength: 3 }),
        metadata,
        fc.boolean(),
        async (prompt, negativePrompt, tags, metadata, enablePromptExpansion) => {
          const input = { ...INPUT, prompt, negativePrompt, enablePromptExpansion }
          const over = { input, tags, metadata, restrictionKey: 'r', tokenId: 't' }
          const { prediction } = await createPrediction(f.store, draft(f.app, over), null, T)
          expect(await f.store.get(fullScope(f.app), prediction.id)).toStrictEqual(prediction)
        },
      ),
      { numRuns: 200 },
    )
  })

  test('a change returns the job as the next change finds it', async () => {
    await using f = await fixture(open)
    await addPredictions(f.store, f.app, 2)
    const [first, second] = await claimReadySubmits(f.store, T + SECOND)
    const change = fc.record(
      {
        status: fc.constantFrom(...STATUSES),
        outputs: fc.constantFrom<Output[]>(
          [],
          [{ url: 'https://ä.example/1.mp4', hasNsfwContent: null, expiresAt: T }],
        ),
        error: fc.constantFrom(null, 'TIMED_OUT' as const, 'SUBMISSION_UNKNOWN' as const),
        cost: fc.constantFrom(0, PRICE),
        submission: fc.constantFrom('begun' as const, 'accepted' as const, 'unknown' as const),
        tracking: fc.constantFrom(null, 'active' as const, 'expired' as const),
        dueAt: fc.constantFrom(T, T + 1),
        upstreamImageUrl: fc.constantFrom(null, 'https://upstream.example/ä.png'),
        lastSeenRunningAt: fc.constantFrom(null, T),
      },
      { requiredKeys: [] },
    )
    let at = T
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(first!.id, second!.id), change, async (id, stateChange) => {
        at += SECOND
        const before = await jobOf(f.store, id)
        const result = await f.store.change(id, () => stateChange, at).catch(String)
        if (typeof result === 'string') expect(result).toContain('illegal transition')
        else
          expect(result).toEqual({
            ...before,
            ...stateChange,
            updatedAt: result!.updatedAt,
            version: before.version + 1,
          })
        expect(await jobOf(f.store, id)).toEqual(typeof result === 'string' ? before : result)
      }),
      { numRuns: 200 },
    )
  })
})
