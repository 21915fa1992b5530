import { describe, expect, test, vi } from 'vitest'
import { wholeOf } from '../../src/domain/access-scope.ts'
import type { AppId, Change, Job } from '../../src/domain/prediction.ts'
import { answered } from '../../src/domain/transitions.ts'
import type { Store } from '../../src/store/store.ts'
import {
  add,
  addMany,
  COMPLETED,
  ENGINES,
  fixture,
  HOUR,
  idsOf,
  jobOf,
  log,
  MINUTE,
  newApp,
  SECOND,
  seeAll,
  seen,
  sendAll,
  submits,
  T,
} from '../support/store.ts'

describe.each(ENGINES)('%s', (_, open) => {
  describe('claimSubmits', () => {
    test('gives the oldest first, and no more than asked for', async () => {
      await using f = await fixture(open)
      const late = await add(f.store, f.app, T + 2)
      const early = await add(f.store, await newApp(f.store), T)
      const middle = await add(f.store, f.app, T + 1)
      expect(await submits(f.store, T + 3, { limit: 0 })).toEqual([])
      expect(idsOf(await submits(f.store, T + 3, { limit: 2 }))).toEqual([early.id, middle.id])
      expect(idsOf(await submits(f.store, T + 3, { limit: 2 }))).toEqual([late.id])
      expect(await submits(f.store, T + 3)).toEqual([])
    })

    test('a claimed row is begun, under a higher fence and a lease; its status and the log say nothing of it', async () => {
      await using f = await fixture(open)
      const { id } = await add(f.store, f.app)
      const [job] = await submits(f.store, T + 7, { leaseUntil: T + 99 })
      const begun = { submission: 'begun', begunAt: T + 7, dueAt: T + 99, fence: 2, attempts: 1 }
      expect(job).toMatchObject({ id, status: 'QUEUED', submittedAt: null, updatedAt: T, ...begun })
      expect(await jobOf(f.store, id)).toEqual(job)
      expect(await log(f.store, f.app)).toHaveLength(1)
      // Made, and its image seen.
      expect(f.rings).toBe(2)
    })

    test('a begun row is never claimed for a POST again, however old its lease', async () => {
      await using f = await fixture(open)
      await add(f.store, f.app)
      expect(await submits(f.store, T)).toHaveLength(1)
      expect(await submits(f.store, T + 1000 * HOUR)).toEqual([])
    })

    test('a row that went back into the queue is claimed anew, with one more attempt and a new fence', async () => {
      await using f = await fixture(open)
      const { id } = await add(f.store, f.app)
      const [{ fence } = {} as Job] = await submits(f.store, T)
      await f.store.change(id, () => ({ submission: 'none', dueAt: T + 5 }), T + 1, fence)
      expect(await submits(f.store, T + 4)).toEqual([])
      const [again] = await submits(f.store, T + 5)
      expect(again).toMatchObject({ id, attempts: 2, fence: fence + 1, begunAt: T + 5 })
    })

    test('begun and accepted rows take up the account’s concurrency, ended ones do not', async () => {
      await using f = await fixture(open)
      await addMany(f.store, f.app, 6)
      const at = T + SECOND
      const claim = (concurrency: number) => submits(f.store, at, { concurrency })
      const [first, second] = await claim(2)
      expect(await claim(2)).toEqual([])
      expect(await claim(3)).toHaveLength(1)
      await f.store.change(first!.id, answered({ kind: 'accepted', upstreamId: 'u' }, at, at), at)
      expect(await claim(3)).toEqual([])
      await f.store.change(first!.id, seen({ status: 'processing' }, at, at), at)
      expect(await claim(3)).toEqual([])
      await f.store.change(first!.id, seen(COMPLETED, at, at), at)
      expect(await claim(3)).toHaveLength(1)
      await f.store.change(second!.id, answered({ kind: 'rejected' }, at, at), at)
      expect(await claim(3)).toHaveLength(1)
      expect(await claim(3)).toEqual([])
    })

    test('rows begun within the last minute take up the account’s rate, whatever became of them', async () => {
      await using f = await fixture(open)
      await addMany(f.store, f.app, 8)
      const at = T + SECOND
      const [first, second, third] = await submits(f.store, at, { perMinute: 3 })
      await f.store.change(first!.id, answered({ kind: 'accepted', upstreamId: 'u' }, at, at), at)
      await f.store.change(first!.id, seen(COMPLETED, at, at), at)
      await f.store.change(second!.id, answered({ kind: 'rejected' }, at, at), at)
      await f.store.change(third!.id, () => ({ submission: 'none' }), at)
      const claim = (now: number) => submits(f.store, now, { perMinute: 3 })
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
      await addMany(f.store, f.app, 9)
      expect(await submits(f.store, T + 9, { limit: 4 })).toHaveLength(4)
      expect(await submits(f.store, T + 9, { concurrency: 2 })).toEqual([])
      expect(await submits(f.store, T + 9, { perMinute: 2 })).toEqual([])
      expect(await submits(f.store, T + 9, { concurrency: 5, perMinute: 2 })).toEqual([])
      expect(await submits(f.store, T + 9, { concurrency: 2, perMinute: 5 })).toEqual([])
    })

    test('the narrowest of the three limits holds, and null is none', async () => {
      await using f = await fixture(open)
      await addMany(f.store, f.app, 40)
      const claim = async (limit: number, concurrency: number | null, perMinute: number | null) =>
        (await submits(f.store, T + HOUR, { limit, concurrency, perMinute })).length
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
      const ids = await addMany(f.store, f.app, 20)
      await seeAll(f.store, T + HOUR)
      const claims = await Promise.all(
        Array.from({ length: 10 }, () => submits(f.store, T + HOUR, { limit: 3 })),
      )
      expect(claims.flatMap(idsOf).toSorted()).toEqual(ids.toSorted())
    })

    test('while submits are paused nothing is claimed; the moment they are resumed, it is', async () => {
      await using f = await fixture(open)
      const { id } = await add(f.store, f.app)
      await f.store.change(id, () => ({ dueAt: T, pause: { reason: 'throttled', until: T } }), T)
      expect(await submits(f.store, T + HOUR)).toEqual([])
      await f.store.resume((await f.store.paused())!.version)
      expect(await submits(f.store, T + HOUR)).toHaveLength(1)
    })
  })

  describe('claimPolls', () => {
    const polls = (store: Store, now: number, limit = 100) =>
      store.claimPolls({ now, leaseUntil: now + MINUTE, limit })

    test('gives what upstream has accepted and is due, the longest due first within the limit', async () => {
      await using f = await fixture(open)
      await addMany(f.store, f.app, 4)
      const [a, b, c, d] = await sendAll(f.store, T + SECOND)
      const due = [T + 40_000, T + 20_000, T + 30_000, T + 50_000]
      for (const [i, job] of [a, b, c, d].entries())
        await f.store.change(job!.id, () => ({ dueAt: due[i]! }), T + SECOND)
      await f.store.change(c!.id, () => ({ status: 'PROCESSING' }), T + SECOND)
      expect(await polls(f.store, T + 19_999)).toEqual([])
      expect(idsOf(await polls(f.store, T + 45_000, 2)).toSorted()).toEqual([b!.id, c!.id].toSorted())
      expect(idsOf(await polls(f.store, T + 45_000))).toEqual([a!.id])
    })

    test('gives nothing that waits, is begun, or has ended', async () => {
      await using f = await fixture(open)
      await add(f.store, f.app)
      const [done] = await sendAll(f.store, T)
      await f.store.change(done!.id, seen(COMPLETED, T, T), T)
      await add(f.store, f.app)
      const [unknown] = await submits(f.store, T)
      await f.store.change(unknown!.id, answered({ kind: 'unknown' }, T, T), T)
      await f.store.resume((await f.store.paused())!.version)
      await add(f.store, f.app)
      expect(await submits(f.store, T)).toHaveLength(1)
      await add(f.store, f.app)
      expect(await polls(f.store, T + 1000 * HOUR)).toEqual([])
    })

    test('a claimed row is due again after its lease, under a fence that refuses the first claimant', async () => {
      await using f = await fixture(open)
      const { id } = await add(f.store, f.app)
      await sendAll(f.store, T)
      const [first] = await polls(f.store, T)
      expect(first).toMatchObject({ id, dueAt: T + MINUTE, fence: 3 })
      expect(await polls(f.store, T + MINUTE - 1)).toEqual([])
      const [second] = await polls(f.store, T + MINUTE)
      expect(second).toMatchObject({ id, fence: 4 })
      const write = (fence: number) =>
        f.store.change(id, seen({ status: 'processing' }, T, T), T + MINUTE, fence)
      expect(await write(first!.fence)).toBeNull()
      expect(await f.store.get(wholeOf(f.app), id)).toMatchObject({ status: 'CREATED' })
      expect(await write(second!.fence)).toMatchObject({ status: 'PROCESSING' })
    })

    test('claims made at once never give the same row', async () => {
      await using f = await fixture(open)
      const ids = await addMany(f.store, f.app, 20)
      await sendAll(f.store, T + SECOND)
      const claims = await Promise.all(Array.from({ length: 10 }, () => polls(f.store, T + SECOND, 3)))
      expect(claims.flatMap(idsOf).toSorted()).toEqual(ids.toSorted())
    })

    test('goes on while submits are paused, and writes neither event nor ring', async () => {
      await using f = await fixture(open)
      const { id } = await add(f.store, f.app)
      await sendAll(f.store, T)
      await f.store.change(id, () => ({ dueAt: T, pause: { reason: 'account', until: T } }), T)
      const { rings } = f
      expect(await polls(f.store, T)).toHaveLength(1)
      expect(f.rings).toBe(rings)
      expect(await log(f.store, f.app)).toHaveLength(2)
    })
  })

  describe('claimAbandoned', () => {
    const abandoned = (store: Store, now: number, limit = 100) =>
      store.claimAbandoned({ now, leaseUntil: now + MINUTE, limit })

    test('gives begun rows alone, and those only once their lease is over', async () => {
      await using f = await fixture(open)
      await add(f.store, f.app, T)
      await sendAll(f.store, T)
      const { id } = await add(f.store, f.app, T)
      await submits(f.store, T, { leaseUntil: T + MINUTE })
      await add(f.store, f.app, T)
      expect(await abandoned(f.store, T + MINUTE - 1)).toEqual([])
      expect(await abandoned(f.store, T + MINUTE, 0)).toEqual([])
      const [job] = await abandoned(f.store, T + MINUTE)
      expect(job).toMatchObject({ id, submission: 'begun', fence: 3, dueAt: T + 2 * MINUTE })
      expect(await abandoned(f.store, T + 2 * MINUTE - 1)).toEqual([])
      expect(await abandoned(f.store, T + 2 * MINUTE)).toHaveLength(1)
    })

    test('the submitter that was thought dead is refused its late answer', async () => {
      await using f = await fixture(open)
      const { id } = await add(f.store, f.app)
      const [submitter] = await submits(f.store, T, { leaseUntil: T + MINUTE })
      await abandoned(f.store, T + MINUTE)
      const late = answered({ kind: 'accepted', upstreamId: 'u' }, T, T)
      expect(await f.store.change(id, late, T + MINUTE, submitter!.fence)).toBeNull()
      expect(await f.store.get(wholeOf(f.app), id)).toMatchObject({ status: 'QUEUED', upstreamId: null })
    })
  })

  describe('paused, claimProbe and resume', () => {
    const stop = async (f: { store: Store; app: AppId }, pause: Change['pause'], at: number) => {
      const { id } = await add(f.store, f.app, at)
      await f.store.change(id, () => ({ dueAt: at, pause: pause! }), at)
    }

    test('nothing is paused at first', async () => {
      await using f = await fixture(open)
      expect(await f.store.paused()).toBeNull()
      expect(await f.store.claimProbe(T + HOUR, () => 0)).toBeNull()
      expect(await f.store.resume(0)).toBe(false)
      expect(await f.store.resume(1)).toBe(false)
    })

    test('a pause on top of another has the newer reason, the longer wait and the first beginning', async () => {
      await using f = await fixture(open)
      await stop(f, { reason: 'unknown', until: T + HOUR }, T)
      const first = await f.store.paused()
      expect(first).toMatchObject({ reason: 'unknown', since: T, until: T + HOUR })
      await stop(f, { reason: 'unreachable', until: T + MINUTE }, T + 1)
      const second = await f.store.paused()
      expect(second).toMatchObject({ reason: 'unreachable', since: T, until: T + HOUR })
      await stop(f, { reason: 'throttled', until: T + 2 * HOUR }, T + 2)
      const third = await f.store.paused()
      expect(third).toMatchObject({ reason: 'throttled', since: T, until: T + 2 * HOUR })
      expect(new Set([first?.version, second?.version, third?.version]).size).toBe(3)
    })

    test('a probe is claimed once it is due, by one, and then put off', async () => {
      await using f = await fixture(open)
      await stop(f, { reason: 'unknown', until: T + SECOND }, T)
      const next = vi.fn(() => T + MINUTE)
      expect(await f.store.claimProbe(T + SECOND - 1, next)).toBeNull()
      expect(next).not.toHaveBeenCalled()
      const [probe, ...rest] = (
        await Promise.all([1, 2, 3].map(() => f.store.claimProbe(T + SECOND, next)))
      ).filter(claimed => claimed !== null)
      expect(rest).toEqual([])
      expect(probe).toMatchObject({ reason: 'unknown', since: T })
      expect(next).toHaveBeenCalledExactlyOnceWith(expect.objectContaining({ reason: 'unknown', since: T }))
      expect(await f.store.paused()).toEqual({ ...probe, until: T + MINUTE })
      expect(await f.store.claimProbe(T + MINUTE - 1, next)).toBeNull()
      expect(await f.store.claimProbe(T + MINUTE, next)).toMatchObject({ version: probe?.version })
    })

    test('resume puts the very pause that was probed on trial, once, and rings', async () => {
      await using f = await fixture(open)
      await stop(f, { reason: 'unknown', until: T }, T)
      const { rings } = f
      const probe = await f.store.claimProbe(T, () => T + 1)
      expect(f.rings).toBe(rings)
      expect(await f.store.resume(probe!.version)).toBe(true)
      expect(await f.store.paused()).toMatchObject({ version: probe!.version, trial: true })
      expect(f.rings).toBe(rings + 1)
      expect(await f.store.resume(probe!.version)).toBe(false)
      expect(f.rings).toBe(rings + 1)
    })

    test('resume of an older pause leaves the one that began since, and does not ring', async () => {
      await using f = await fixture(open)
      await stop(f, { reason: 'unknown', until: T }, T)
      const probe = await f.store.claimProbe(T, () => T + 1)
      await stop(f, { reason: 'account', until: T + 1 }, T + 1)
      const { rings } = f
      expect(await f.store.resume(probe!.version)).toBe(false)
      expect(await f.store.paused()).toMatchObject({ reason: 'account' })
      expect(f.rings).toBe(rings)
    })

    test('on trial one row is claimed at a time, until a submit goes well', async () => {
      await using f = await fixture(open)
      await addMany(f.store, f.app, 5)
      await stop(f, { reason: 'unknown', until: T }, T)
      await f.store.resume((await f.store.paused())!.version)
      const at = T + SECOND
      const [first, ...rest] = await submits(f.store, at)
      expect(rest).toEqual([])
      expect(await submits(f.store, at)).toEqual([])
      await f.store.change(first!.id, answered({ kind: 'accepted', upstreamId: 'u' }, at, at), at)
      expect(await f.store.paused()).toBeNull()
      expect((await submits(f.store, at)).length).toBeGreaterThan(1)
    })

    test('a trial is over by the answer to its own POST alone', async () => {
      await using f = await fixture(open)
      await addMany(f.store, f.app, 9)
      const [early, late] = await submits(f.store, T + SECOND, { limit: 2 })
      await stop(f, { reason: 'unknown', until: T }, T)
      await f.store.resume((await f.store.paused())!.version)
      const at = T + MINUTE - 1
      const rejected = answered({ kind: 'rejected' }, at, at)
      await f.store.change(early!.id, answered({ kind: 'accepted', upstreamId: 'u' }, at, at), at)
      await f.store.change(late!.id, rejected, at)
      const [trial, ...rest] = await submits(f.store, at)
      expect(rest).toEqual([])
      expect(await f.store.paused()).toMatchObject({ trial: true, trialOf: trial!.id })
      await f.store.change(trial!.id, rejected, at)
      expect(await f.store.paused()).toBeNull()
    })

    test('a job that was refused before is not the next trial, while another waits', async () => {
      await using f = await fixture(open)
      const [refused, other] = await addMany(f.store, f.app, 2)
      const at = T + SECOND
      await submits(f.store, at, { limit: 1 })
      await f.store.change(refused!, answered({ kind: 'account' }, at, at), at)
      await f.store.resume((await f.store.paused())!.version)
      expect(idsOf(await submits(f.store, at))).toEqual([other])
    })

    test('an answer from before the pause does not end it', async () => {
      await using f = await fixture(open)
      await addMany(f.store, f.app, 2)
      const [early] = await submits(f.store, T, { limit: 1 })
      await stop(f, { reason: 'unknown', until: T }, T)
      await f.store.change(early!.id, answered({ kind: 'accepted', upstreamId: 'u' }, T, T), T)
      expect(await f.store.paused()).toMatchObject({ reason: 'unknown', trial: false })
    })

    test('while an abandoned row is not yet settled, nothing is claimed', async () => {
      await using f = await fixture(open)
      await addMany(f.store, f.app, 2)
      const [lost] = await submits(f.store, T, { limit: 1 })
      expect(await submits(f.store, T + MINUTE)).toEqual([])
      const [found] = await f.store.claimAbandoned({ now: T + MINUTE, leaseUntil: T + HOUR, limit: 9 })
      expect(found?.id).toBe(lost?.id)
    })

    test('what the caller has in hand is not abandoned', async () => {
      await using f = await fixture(open)
      await addMany(f.store, f.app, 2)
      const [mine, other] = await submits(f.store, T + SECOND)
      const request = {
        now: T + SECOND + MINUTE,
        leaseUntil: T + HOUR,
        limit: 9,
        except: new Set([mine!.id]),
      }
      expect((await f.store.claimAbandoned(request)).map(({ id }) => id)).toEqual([other!.id])
      expect((await jobOf(f.store, mine!.id)).fence).toBe(mine!.fence)
    })

    test('a trial that failed doubles the wait, under a version never used before', async () => {
      await using f = await fixture(open)
      await stop(f, { reason: 'unreachable', until: T }, T)
      let at = T
      for (const failures of [1, 2, 3]) {
        const { version } = (await f.store.paused())!
        await f.store.resume(version)
        // However long the trial stood idle: only failures count.
        at += HOUR
        await stop(f, { reason: 'unknown', until: at }, at)
        const next = await f.store.paused()
        expect(next).toMatchObject({ since: at, until: at + 2 ** failures * SECOND, trial: false, failures })
        expect(next?.version).toBeGreaterThan(version)
        expect(await f.store.resume(version)).toBe(false)
      }
    })

    test('a change may be a pause and nothing else', async () => {
      await using f = await fixture(open)
      const { id } = await add(f.store, f.app)
      const pause = { reason: 'account', until: T + HOUR } as const
      expect(await f.store.change(id, () => ({ pause }), T)).toMatchObject({ id, status: 'QUEUED' })
      expect(await f.store.paused()).toMatchObject(pause)
    })

    test('pause and change are one: a refused fence pauses nothing', async () => {
      await using f = await fixture(open)
      const { id } = await add(f.store, f.app)
      await submits(f.store, T)
      const unknown = answered({ kind: 'unknown' }, T, T)
      await f.store.change(id, unknown, T, 0)
      expect(await f.store.paused()).toBeNull()
      await f.store.change(id, unknown, T, 2)
      expect(await f.store.paused()).toMatchObject({ reason: 'unknown', since: T })
    })
  })
})
