import { describe, expect, test, vi } from 'vitest'
import { fullScope } from '../../src/domain/access-scope.ts'
import type { AppId, Job, StateChange } from '../../src/domain/prediction.ts'
import { submitAnswered } from '../../src/domain/transitions.ts'
import type { Store } from '../../src/store/store.ts'
import { ENGINES } from '../support/engines.ts'
import {
  addPrediction,
  addPredictions,
  COMPLETED,
  claimReadySubmits,
  eventsOf,
  fixture,
  HOUR,
  idsOf,
  jobOf,
  MINUTE,
  newApp,
  pollSucceededAt,
  SECOND,
  submitAll,
  T,
  verifyAllImages,
} from '../support/store.ts'

describe.each(ENGINES)('%s', (_, { open }) => {
  describe('claimSubmits', () => {
    test('claims the oldest first, and no more than `limit`', async () => {
      await using f = await fixture(open)
      const late = await addPrediction(f.store, f.app, T + 2)
      const early = await addPrediction(f.store, await newApp(f.store), T)
      const middle = await addPrediction(f.store, f.app, T + 1)
      expect(await claimReadySubmits(f.store, T + 3, { limit: 0 })).toEqual([])
      expect(idsOf(await claimReadySubmits(f.store, T + 3, { limit: 2 }))).toEqual([early.id, middle.id])
      expect(idsOf(await claimReadySubmits(f.store, T + 3, { limit: 2 }))).toEqual([late.id])
      expect(await claimReadySubmits(f.store, T + 3)).toEqual([])
    })

    test('a claimed row is begun, with a higher fence and a lease; its status and the log do not change', async () => {
      await using f = await fixture(open)
      const { id } = await addPrediction(f.store, f.app)
      const [job] = await claimReadySubmits(f.store, T + 7, { leaseUntil: T + 99 })
      const begun = {
        submission: 'begun',
        submitStartedAt: T + 7,
        dueAt: T + 99,
        fence: 2,
        submitAttempts: 1,
      }
      expect(job).toMatchObject({ id, status: 'QUEUED', submittedAt: null, updatedAt: T, ...begun })
      expect(await jobOf(f.store, id)).toEqual(job)
      expect(await eventsOf(f.store, f.app)).toHaveLength(1)
      // The row was created, and its image verified.
      expect(f.notifications).toBe(2)
    })

    test('a begun row is never claimed for a POST again, however old its lease', async () => {
      await using f = await fixture(open)
      await addPrediction(f.store, f.app)
      expect(await claimReadySubmits(f.store, T)).toHaveLength(1)
      expect(await claimReadySubmits(f.store, T + 1000 * HOUR)).toEqual([])
    })

    test('a row that went back into the queue is claimed again, with one more attempt and a new fence', async () => {
      await using f = await fixture(open)
      const { id } = await addPrediction(f.store, f.app)
      const [{ fence } = {} as Job] = await claimReadySubmits(f.store, T)
      await f.store.change(id, () => ({ submission: 'none', dueAt: T + 5 }), T + 1, fence)
      expect(await claimReadySubmits(f.store, T + 4)).toEqual([])
      const [again] = await claimReadySubmits(f.store, T + 5)
      expect(again).toMatchObject({ id, submitAttempts: 2, fence: fence + 1, submitStartedAt: T + 5 })
    })

    test('begun and accepted rows take up the account’s concurrency, ended ones do not', async () => {
      await using f = await fixture(open)
      await addPredictions(f.store, f.app, 6)
      const at = T + SECOND
      const claim = (upstreamConcurrency: number) => claimReadySubmits(f.store, at, { upstreamConcurrency })
      const [first, second] = await claim(2)
      expect(await claim(2)).toEqual([])
      expect(await claim(3)).toHaveLength(1)
      await f.store.change(first!.id, submitAnswered({ kind: 'accepted', upstreamId: 'u' }, at, at), at)
      expect(await claim(3)).toEqual([])
      await f.store.change(first!.id, pollSucceededAt({ status: 'processing' }, at, at), at)
      expect(await claim(3)).toEqual([])
      await f.store.change(first!.id, pollSucceededAt(COMPLETED, at, at), at)
      expect(await claim(3)).toHaveLength(1)
      await f.store.change(second!.id, submitAnswered({ kind: 'rejected' }, at, at), at)
      expect(await claim(3)).toHaveLength(1)
      expect(await claim(3)).toEqual([])
    })

    test('rows begun within the last minute take up the account’s rate, whatever their outcome', async () => {
      await using f = await fixture(open)
      await addPredictions(f.store, f.app, 8)
      const at = T + SECOND
      const [first, second, third] = await claimReadySubmits(f.store, at, { upstreamSubmitsPerMinute: 3 })
      await f.store.change(first!.id, submitAnswered({ kind: 'accepted', upstreamId: 'u' }, at, at), at)
      await f.store.change(first!.id, pollSucceededAt(COMPLETED, at, at), at)
      await f.store.change(second!.id, submitAnswered({ kind: 'rejected' }, at, at), at)
      await f.store.change(third!.id, () => ({ submission: 'none' }), at)
      const claim = (now: number) => claimReadySubmits(f.store, now, { upstreamSubmitsPerMinute: 3 })
      expect(await claim(at)).toEqual([])
      expect(await claim(at + MINUTE - 1)).toEqual([])
      const more = await claim(at + MINUTE)
      expect(more).toHaveLength(3)
      for (const { id } of more) await f.store.change(id, () => ({ submission: 'none' }), at + MINUTE)
      expect(await claim(at + MINUTE + 1)).toEqual([])
      expect(await claim(at + 2 * MINUTE)).toHaveLength(3)
    })

    test('an account that is over its limits already gets nothing, not everything', async () => {
      await using f = await fixture(open)
      await addPredictions(f.store, f.app, 9)
      expect(await claimReadySubmits(f.store, T + 9, { limit: 4 })).toHaveLength(4)
      expect(await claimReadySubmits(f.store, T + 9, { upstreamConcurrency: 2 })).toEqual([])
      expect(await claimReadySubmits(f.store, T + 9, { upstreamSubmitsPerMinute: 2 })).toEqual([])
      expect(
        await claimReadySubmits(f.store, T + 9, { upstreamConcurrency: 5, upstreamSubmitsPerMinute: 2 }),
      ).toEqual([])
      expect(
        await claimReadySubmits(f.store, T + 9, { upstreamConcurrency: 2, upstreamSubmitsPerMinute: 5 }),
      ).toEqual([])
    })

    test('the lowest of the three limits applies, and null is no limit', async () => {
      await using f = await fixture(open)
      await addPredictions(f.store, f.app, 40)
      const claim = async (
        limit: number,
        upstreamConcurrency: number | null,
        upstreamSubmitsPerMinute: number | null,
      ) =>
        (await claimReadySubmits(f.store, T + HOUR, { limit, upstreamConcurrency, upstreamSubmitsPerMinute }))
          .length
      expect(await claim(1, 10, 10)).toBe(1)
      expect(await claim(10, 3, 10)).toBe(2)
      expect(await claim(10, 10, 4)).toBe(1)
      expect(await claim(10, null, 5)).toBe(1)
      expect(await claim(10, 6, null)).toBe(1)
      expect(await claim(10, null, null)).toBe(10)
      expect(await claim(100, null, null)).toBe(24)
    })

    test('claims made at once never give the same row', async () => {
      await using f = await fixture(open)
      const ids = await addPredictions(f.store, f.app, 20)
      await verifyAllImages(f.store, T + HOUR)
      const claims = await Promise.all(
        Array.from({ length: 10 }, () => claimReadySubmits(f.store, T + HOUR, { limit: 3 })),
      )
      expect(claims.flatMap(idsOf).toSorted()).toEqual(ids.toSorted())
    })

    test('while the circuit is open nothing is claimed; once it closes, it is', async () => {
      await using f = await fixture(open)
      const { id } = await addPrediction(f.store, f.app)
      await f.store.change(id, () => ({ dueAt: T, submitCircuit: { reason: 'throttled', until: T } }), T)
      expect(await claimReadySubmits(f.store, T + HOUR)).toEqual([])
      await f.store.halfOpenCircuit((await f.store.submitCircuit())!.version)
      expect(await claimReadySubmits(f.store, T + HOUR)).toHaveLength(1)
    })
  })

  describe('claimPolls', () => {
    const claimPolls = (store: Store, now: number, limit = 100) =>
      store.claimPolls({ now, leaseUntil: now + MINUTE, limit })

    test('claims accepted rows that are due, the longest due first, within the limit', async () => {
      await using f = await fixture(open)
      await addPredictions(f.store, f.app, 4)
      const [a, b, c, d] = await submitAll(f.store, T + SECOND)
      const due = [T + 40_000, T + 20_000, T + 30_000, T + 50_000]
      for (const [i, job] of [a, b, c, d].entries())
        await f.store.change(job!.id, () => ({ dueAt: due[i]! }), T + SECOND)
      await f.store.change(c!.id, () => ({ status: 'PROCESSING' }), T + SECOND)
      expect(await claimPolls(f.store, T + 19_999)).toEqual([])
      expect(idsOf(await claimPolls(f.store, T + 45_000, 2)).toSorted()).toEqual([b!.id, c!.id].toSorted())
      expect(idsOf(await claimPolls(f.store, T + 45_000))).toEqual([a!.id])
    })

    test('claims no row that waits, is begun or has ended', async () => {
      await using f = await fixture(open)
      await addPrediction(f.store, f.app)
      const [done] = await submitAll(f.store, T)
      await f.store.change(done!.id, pollSucceededAt(COMPLETED, T, T), T)
      await addPrediction(f.store, f.app)
      const [unknown] = await claimReadySubmits(f.store, T)
      await f.store.change(unknown!.id, submitAnswered({ kind: 'unknown' }, T, T), T)
      await f.store.halfOpenCircuit((await f.store.submitCircuit())!.version)
      await addPrediction(f.store, f.app)
      expect(await claimReadySubmits(f.store, T)).toHaveLength(1)
      await addPrediction(f.store, f.app)
      expect(await claimPolls(f.store, T + 1000 * HOUR)).toEqual([])
    })

    test('a claimed row is due again after its lease, under a fence that refuses the first claimant', async () => {
      await using f = await fixture(open)
      const { id } = await addPrediction(f.store, f.app)
      await submitAll(f.store, T)
      const [first] = await claimPolls(f.store, T)
      expect(first).toMatchObject({ id, dueAt: T + MINUTE, fence: 3 })
      expect(await claimPolls(f.store, T + MINUTE - 1)).toEqual([])
      const [second] = await claimPolls(f.store, T + MINUTE)
      expect(second).toMatchObject({ id, fence: 4 })
      const write = (fence: number) =>
        f.store.change(id, pollSucceededAt({ status: 'processing' }, T, T), T + MINUTE, fence)
      expect(await write(first!.fence)).toBeNull()
      expect(await f.store.get(fullScope(f.app), id)).toMatchObject({ status: 'CREATED' })
      expect(await write(second!.fence)).toMatchObject({ status: 'PROCESSING' })
    })

    test('claims made at once never give the same row', async () => {
      await using f = await fixture(open)
      const ids = await addPredictions(f.store, f.app, 20)
      await submitAll(f.store, T + SECOND)
      const claims = await Promise.all(Array.from({ length: 10 }, () => claimPolls(f.store, T + SECOND, 3)))
      expect(claims.flatMap(idsOf).toSorted()).toEqual(ids.toSorted())
    })

    test('continues while the circuit is open, without event or notification', async () => {
      await using f = await fixture(open)
      const { id } = await addPrediction(f.store, f.app)
      await submitAll(f.store, T)
      await f.store.change(id, () => ({ dueAt: T, submitCircuit: { reason: 'account', until: T } }), T)
      const { notifications } = f
      expect(await claimPolls(f.store, T)).toHaveLength(1)
      expect(f.notifications).toBe(notifications)
      expect(await eventsOf(f.store, f.app)).toHaveLength(2)
    })
  })

  describe('claimAbandonedSubmits', () => {
    const claimAbandoned = (store: Store, now: number, limit = 100) =>
      store.claimAbandonedSubmits({ now, leaseUntil: now + MINUTE, limit })

    test('claims only begun rows, and only after their lease', async () => {
      await using f = await fixture(open)
      await addPrediction(f.store, f.app, T)
      await submitAll(f.store, T)
      const { id } = await addPrediction(f.store, f.app, T)
      await claimReadySubmits(f.store, T, { leaseUntil: T + MINUTE })
      await addPrediction(f.store, f.app, T)
      expect(await claimAbandoned(f.store, T + MINUTE - 1)).toEqual([])
      expect(await claimAbandoned(f.store, T + MINUTE, 0)).toEqual([])
      const [job] = await claimAbandoned(f.store, T + MINUTE)
      expect(job).toMatchObject({ id, submission: 'begun', fence: 3, dueAt: T + 2 * MINUTE })
      expect(await claimAbandoned(f.store, T + 2 * MINUTE - 1)).toEqual([])
      expect(await claimAbandoned(f.store, T + 2 * MINUTE)).toHaveLength(1)
    })

    test('refuses the late answer of the submitter that seemed dead', async () => {
      await using f = await fixture(open)
      const { id } = await addPrediction(f.store, f.app)
      const [submitter] = await claimReadySubmits(f.store, T, { leaseUntil: T + MINUTE })
      await claimAbandoned(f.store, T + MINUTE)
      const late = submitAnswered({ kind: 'accepted', upstreamId: 'u' }, T, T)
      expect(await f.store.change(id, late, T + MINUTE, submitter!.fence)).toBeNull()
      expect(await f.store.get(fullScope(f.app), id)).toMatchObject({ status: 'QUEUED', upstreamId: null })
    })
  })

  describe('submitCircuit, claimCircuitProbe and halfOpenCircuit', () => {
    const openCircuit = async (
      f: { store: Store; app: AppId },
      submitCircuit: NonNullable<StateChange['submitCircuit']>,
      at: number,
    ) => {
      const { id } = await addPrediction(f.store, f.app, at)
      await f.store.change(id, () => ({ dueAt: at, submitCircuit }), at)
    }

    test('the circuit is closed at first', async () => {
      await using f = await fixture(open)
      expect(await f.store.submitCircuit()).toBeNull()
      expect(await f.store.claimCircuitProbe(T + HOUR, () => 0)).toBeNull()
      expect(await f.store.halfOpenCircuit(0)).toBe(false)
      expect(await f.store.halfOpenCircuit(1)).toBe(false)
    })

    test('a circuit opened twice has the newer reason, the longer wait and the first start', async () => {
      await using f = await fixture(open)
      await openCircuit(f, { reason: 'unknown', until: T + HOUR }, T)
      const first = await f.store.submitCircuit()
      expect(first).toMatchObject({ reason: 'unknown', since: T, until: T + HOUR })
      await openCircuit(f, { reason: 'unreachable', until: T + MINUTE }, T + 1)
      const second = await f.store.submitCircuit()
      expect(second).toMatchObject({ reason: 'unreachable', since: T, until: T + HOUR })
      await openCircuit(f, { reason: 'throttled', until: T + 2 * HOUR }, T + 2)
      const third = await f.store.submitCircuit()
      expect(third).toMatchObject({ reason: 'throttled', since: T, until: T + 2 * HOUR })
      expect(new Set([first?.version, second?.version, third?.version]).size).toBe(3)
    })

    test('a probe is claimed once due, by one, then postponed', async () => {
      await using f = await fixture(open)
      await openCircuit(f, { reason: 'unknown', until: T + SECOND }, T)
      const next = vi.fn(() => T + MINUTE)
      expect(await f.store.claimCircuitProbe(T + SECOND - 1, next)).toBeNull()
      expect(next).not.toHaveBeenCalled()
      const [probe, ...rest] = (
        await Promise.all([1, 2, 3].map(() => f.store.claimCircuitProbe(T + SECOND, next)))
      ).filter(claimed => claimed !== null)
      expect(rest).toEqual([])
      expect(probe).toMatchObject({ reason: 'unknown', since: T })
      expect(next).toHaveBeenCalledExactlyOnceWith(expect.objectContaining({ reason: 'unknown', since: T }))
      expect(await f.store.submitCircuit()).toEqual({ ...probe, until: T + MINUTE })
      expect(await f.store.claimCircuitProbe(T + MINUTE - 1, next)).toBeNull()
      expect(await f.store.claimCircuitProbe(T + MINUTE, next)).toMatchObject({ version: probe?.version })
    })

    test('halfOpenCircuit half-opens exactly the circuit that was probed, once, and notifies', async () => {
      await using f = await fixture(open)
      await openCircuit(f, { reason: 'unknown', until: T }, T)
      const { notifications } = f
      const probe = await f.store.claimCircuitProbe(T, () => T + 1)
      expect(f.notifications).toBe(notifications)
      expect(await f.store.halfOpenCircuit(probe!.version)).toBe(true)
      expect(await f.store.submitCircuit()).toMatchObject({ version: probe!.version, halfOpen: true })
      expect(f.notifications).toBe(notifications + 1)
      expect(await f.store.halfOpenCircuit(probe!.version)).toBe(false)
      expect(f.notifications).toBe(notifications + 1)
    })

    test('halfOpenCircuit of an older version leaves the newer circuit open and does not notify', async () => {
      await using f = await fixture(open)
      await openCircuit(f, { reason: 'unknown', until: T }, T)
      const probe = await f.store.claimCircuitProbe(T, () => T + 1)
      await openCircuit(f, { reason: 'account', until: T + 1 }, T + 1)
      const { notifications } = f
      expect(await f.store.halfOpenCircuit(probe!.version)).toBe(false)
      expect(await f.store.submitCircuit()).toMatchObject({ reason: 'account' })
      expect(f.notifications).toBe(notifications)
    })

    test('half-open, one row is claimed at a time until a submit succeeds', async () => {
      await using f = await fixture(open)
      await addPredictions(f.store, f.app, 5)
      await openCircuit(f, { reason: 'unknown', until: T }, T)
      await f.store.halfOpenCircuit((await f.store.submitCircuit())!.version)
      const at = T + SECOND
      const [first, ...rest] = await claimReadySubmits(f.store, at)
      expect(rest).toEqual([])
      expect(await claimReadySubmits(f.store, at)).toEqual([])
      await f.store.change(first!.id, submitAnswered({ kind: 'accepted', upstreamId: 'u' }, at, at), at)
      expect(await f.store.submitCircuit()).toBeNull()
      expect((await claimReadySubmits(f.store, at)).length).toBeGreaterThan(1)
    })

    test('only the answer to the probe’s own POST decides', async () => {
      await using f = await fixture(open)
      await addPredictions(f.store, f.app, 9)
      const [early, late] = await claimReadySubmits(f.store, T + SECOND, { limit: 2 })
      await openCircuit(f, { reason: 'unknown', until: T }, T)
      await f.store.halfOpenCircuit((await f.store.submitCircuit())!.version)
      const at = T + MINUTE - 1
      const rejected = submitAnswered({ kind: 'rejected' }, at, at)
      await f.store.change(early!.id, submitAnswered({ kind: 'accepted', upstreamId: 'u' }, at, at), at)
      await f.store.change(late!.id, rejected, at)
      const [probeJob, ...rest] = await claimReadySubmits(f.store, at)
      expect(rest).toEqual([])
      expect(await f.store.submitCircuit()).toMatchObject({ halfOpen: true, probePredictionId: probeJob!.id })
      await f.store.change(probeJob!.id, rejected, at)
      expect(await f.store.submitCircuit()).toBeNull()
    })

    test('a job that was refused is not the next probe while another waits', async () => {
      await using f = await fixture(open)
      const [rejected, other] = await addPredictions(f.store, f.app, 2)
      const at = T + SECOND
      await claimReadySubmits(f.store, at, { limit: 1 })
      await f.store.change(rejected!, submitAnswered({ kind: 'account' }, at, at), at)
      await f.store.halfOpenCircuit((await f.store.submitCircuit())!.version)
      expect(idsOf(await claimReadySubmits(f.store, at))).toEqual([other])
    })

    test('an answer from before the circuit opened does not close it', async () => {
      await using f = await fixture(open)
      await addPredictions(f.store, f.app, 2)
      const [early] = await claimReadySubmits(f.store, T, { limit: 1 })
      await openCircuit(f, { reason: 'unknown', until: T }, T)
      await f.store.change(early!.id, submitAnswered({ kind: 'accepted', upstreamId: 'u' }, T, T), T)
      expect(await f.store.submitCircuit()).toMatchObject({ reason: 'unknown', halfOpen: false })
    })

    test('while an abandoned row is not yet resolved, nothing is claimed', async () => {
      await using f = await fixture(open)
      await addPredictions(f.store, f.app, 2)
      const [lost] = await claimReadySubmits(f.store, T, { limit: 1 })
      expect(await claimReadySubmits(f.store, T + MINUTE)).toEqual([])
      const [found] = await f.store.claimAbandonedSubmits({ now: T + MINUTE, leaseUntil: T + HOUR, limit: 9 })
      expect(found?.id).toBe(lost?.id)
    })

    test('submits in flight here are not abandoned', async () => {
      await using f = await fixture(open)
      await addPredictions(f.store, f.app, 2)
      const [mine, other] = await claimReadySubmits(f.store, T + SECOND)
      const request = {
        now: T + SECOND + MINUTE,
        leaseUntil: T + HOUR,
        limit: 9,
        thisProcess: { submittingIds: new Set([mine!.id]) },
      }
      expect((await f.store.claimAbandonedSubmits(request)).map(({ id }) => id)).toEqual([other!.id])
      expect((await jobOf(f.store, mine!.id)).fence).toBe(mine!.fence)
    })

    test('a failed probe doubles the wait, under a new version', async () => {
      await using f = await fixture(open)
      await openCircuit(f, { reason: 'unreachable', until: T }, T)
      let at = T
      for (const failures of [1, 2, 3]) {
        const { version } = (await f.store.submitCircuit())!
        await f.store.halfOpenCircuit(version)
        // However long the circuit was half-open: only failures count.
        at += HOUR
        await openCircuit(f, { reason: 'unknown', until: at }, at)
        const next = await f.store.submitCircuit()
        expect(next).toMatchObject({
          since: at,
          until: at + 2 ** failures * SECOND,
          halfOpen: false,
          failures,
        })
        expect(next?.version).toBeGreaterThan(version)
        expect(await f.store.halfOpenCircuit(version)).toBe(false)
      }
    })

    test('a change may open the circuit and nothing else', async () => {
      await using f = await fixture(open)
      const { id } = await addPrediction(f.store, f.app)
      const submitCircuit = { reason: 'account', until: T + HOUR } as const
      expect(await f.store.change(id, () => ({ submitCircuit }), T)).toMatchObject({ id, status: 'QUEUED' })
      expect(await f.store.submitCircuit()).toMatchObject(submitCircuit)
    })

    test('transition and circuit are one write: a refused fence opens nothing', async () => {
      await using f = await fixture(open)
      const { id } = await addPrediction(f.store, f.app)
      await claimReadySubmits(f.store, T)
      const unknown = submitAnswered({ kind: 'unknown' }, T, T)
      await f.store.change(id, unknown, T, 0)
      expect(await f.store.submitCircuit()).toBeNull()
      await f.store.change(id, unknown, T, 2)
      expect(await f.store.submitCircuit()).toMatchObject({ reason: 'unknown', since: T })
    })
  })
})
