/**
 * A cancel races with every other writer of a job: image check, POST, upstream, webhooks, poller, reconciler and a
 * SIGKILL. Each of these is cut into the steps between which another writer may act. The store and the transitions
 * are the real ones; a model beside them knows what was sent, how it ended and what the app was answered. Every
 * interleaving of one job is explored; those of several jobs are drawn at random.
 */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Job } from '../../../src/domain/prediction.ts'
import { submitAnswered } from '../../../src/domain/transitions.ts'
import { ENGINES } from '../../support/engines.ts'
import {
  addPrediction,
  COMPLETED,
  claimReadySubmits,
  jobOf,
  newApp,
  pollSucceededAt,
  SECOND,
  T,
} from '../../support/store.ts'
import { requestCancel } from './cancel-actions.ts'
import { type ExplorationOptions, exploreStates } from './explore-states.ts'
import type { Bounds } from './model.ts'
import { createStateMachine } from './state-machine.ts'

const NO_STEPS: Bounds = {
  cancels: 0,
  claims: 0,
  images: 0,
  polls: 0,
  searches: 0,
  webhooks: 0,
  disasters: 0,
}

const plan = fc.record({
  rows: fc.integer({ min: 1, max: 3 }),
  concurrency: fc.constantFrom(1, 2, null),
  cancels: fc.integer({ min: 0, max: 2 }),
  /** 0: every image counts as verified. This is so in half of the runs. */
  images: fc.constantFrom(0, 10),
  picks: fc.array(fc.nat(4000), { minLength: 10, maxLength: 60, size: 'max' }),
})
const MANY_STEPS: Omit<Bounds, 'cancels' | 'images'> = {
  claims: 10,
  polls: 20,
  searches: 10,
  webhooks: 2,
  disasters: 4,
}

describe.each(ENGINES)('%s', (_, { open, openRewindable }) => {
  test("a cancel of another app's job gets NOT_FOUND and changes nothing", async () => {
    const store = await open(() => {})
    const { id } = await addPrediction(store, await newApp(store))
    const before = await jobOf(store, id)
    expect(await requestCancel(store, await newApp(store), id, T)).toEqual({ code: 'NOT_FOUND' })
    expect(await jobOf(store, id)).toEqual(before)
    await store.close()
  })

  test('a job whose POST has no answer is claimed only by the reconciler', async () => {
    const store = await open(() => {})
    const app = await newApp(store)
    const { id } = await addPrediction(store, app)
    const [{ fence } = {} as Job] = await claimReadySubmits(store, T)
    await store.change(id, submitAnswered({ kind: 'unknown' }, T, T), T, fence)
    await store.halfOpenCircuit((await store.submitCircuit())!.version)
    const other = await addPrediction(store, app)
    const at = T + SECOND
    expect((await claimReadySubmits(store, at, { limit: 9 })).map(job => job.id)).toEqual([other.id])
    const claim = { now: at, leaseUntil: at, limit: 9 }
    expect(await store.claimPolls(claim)).toEqual([])
    expect((await store.claimUnresolvedSubmits(claim)).map(job => job.id)).toEqual([id])
    await store.close()
  })

  test('a canceled job that was sent keeps its slot until upstream says that it ended', async () => {
    const store = await open(() => {})
    const app = await newApp(store)
    const ids = [(await addPrediction(store, app)).id, (await addPrediction(store, app)).id]
    const claim = () => claimReadySubmits(store, T + SECOND, { upstreamConcurrency: 1 })
    const [first] = await claim()
    const cancel = () => requestCancel(store, app, first!.id, T)
    expect(await cancel()).toMatchObject({ mayStillBeCharged: true })
    expect(await claim()).toEqual([])
    await store.change(
      first!.id,
      submitAnswered({ kind: 'accepted', upstreamId: 'up' }, T, T),
      T,
      first!.fence,
    )
    expect(await cancel()).toMatchObject({ code: 'ALREADY_FINISHED' })
    expect(await claim()).toEqual([])
    await store.change(first!.id, pollSucceededAt(COMPLETED, T, T), T)
    expect(await jobOf(store, first!.id)).toMatchObject({ status: 'CANCELED', outputs: [], tracking: null })
    expect((await claim()).map(({ id }) => id)).toEqual(ids.filter(id => id !== first!.id))
    await store.close()
  })

  describe('every interleaving of a cancel', () => {
    /** Each row: title, bounds, and every history of states that the app may see. */
    test.each<[string, ExplorationOptions, string[]]>([
      [
        'with its image check',
        {
          bounds: { ...NO_STEPS, cancels: 2, images: 2, claims: 1 },
          answers: ['accepted'],
          ends: ['completed'],
        },
        ['CANCELED', 'CANCELED free', 'CREATED, CANCELED', 'INVALID_INPUT free'],
      ],
      [
        'with each answer to its POST',
        { bounds: { ...NO_STEPS, cancels: 2, claims: 1, webhooks: 1 }, ends: ['completed'] },
        ['CANCELED', 'CANCELED free', 'CANCELED, CANCELED free', 'CREATED, CANCELED', 'INVALID_INPUT free'],
      ],
      [
        'with polls and webhooks',
        {
          bounds: { ...NO_STEPS, cancels: 1, claims: 1, polls: 2, webhooks: 1 },
          answers: ['accepted'],
          ends: ['completed', 'failed', 'empty'],
        },
        [
          'CANCELED',
          'CANCELED free',
          'CREATED, CANCELED',
          'CREATED, COMPLETED',
          'CREATED, GENERATION_FAILED free',
          'CREATED, NO_OUTPUT',
        ],
      ],
      [
        'with a SIGKILL or an expired lease, and a search',
        {
          bounds: { ...NO_STEPS, cancels: 1, claims: 1, searches: 1, disasters: 1 },
          answers: ['accepted', 'account'],
          ends: ['completed'],
          disasters: ['SIGKILL', 'lease expired'],
        },
        ['CANCELED', 'CANCELED free', 'CANCELED, CANCELED free', 'CREATED, CANCELED'],
      ],
      [
        'with a SIGKILL, searches and a webhook',
        {
          bounds: { ...NO_STEPS, cancels: 1, claims: 1, searches: 2, webhooks: 1, disasters: 1 },
          answers: ['lost'],
          ends: ['completed'],
          disasters: ['SIGKILL'],
        },
        ['CANCELED', 'CANCELED free', 'CREATED, CANCELED'],
      ],
      [
        'with a deadline, a poll and a webhook',
        {
          bounds: { ...NO_STEPS, cancels: 1, claims: 1, polls: 1, webhooks: 1, disasters: 1 },
          answers: ['accepted'],
          ends: ['completed'],
          disasters: ['past the deadline'],
        },
        [
          'CANCELED',
          'CANCELED free',
          'CREATED, CANCELED',
          'CREATED, COMPLETED',
          'CREATED, TIMED_OUT, COMPLETED',
        ],
      ],
    ])('%s reaches a correct end', async (_, options, expected) => {
      expect([...(await exploreStates(openRewindable, options))].sort()).toEqual(
        expected.map(history => `QUEUED, ${history}`),
      )
    })
  })

  test('cancels of several jobs, among all other events and disasters, reach a correct end', async () => {
    await fc.assert(
      fc.asyncProperty(plan, async ({ picks, cancels, images, ...options }) => {
        const store = await open(() => {})
        const names: string[] = []
        try {
          const machine = await createStateMachine(store, {
            ...options,
            bounds: { ...MANY_STEPS, cancels, images },
            from: T,
          })
          for (const pick of picks) {
            const { workerSteps, disturbances } = await machine.enabledSteps()
            // Mostly steps of workers, since otherwise few jobs would get far.
            const steps =
              pick % 8 > 0 && workerSteps.length > 0 ? workerSteps : [...disturbances, ...workerSteps]
            const step = steps[(pick >> 3) % steps.length]
            if (step === undefined) break
            names.push(step[0])
            await machine.execute(step)
          }
          await machine.settle()
        } catch (error) {
          throw new Error(`after ${names.join(' · ')}: ${error}`, { cause: error })
        } finally {
          await store.close()
        }
      }),
      { numRuns: 30, includeErrorInReport: true },
    )
  })
})
