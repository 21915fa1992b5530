import { describe, expect, test } from 'vitest'
import { wholeOf } from '../../src/domain/access-scope.ts'
import {
  abandoned,
  accepted,
  answered,
  canceled,
  imageMissed,
  imageSeen,
  observed,
  unfound,
} from '../../src/domain/transitions.ts'
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
  PRICE,
  SECOND,
  seeAll,
  seen,
  sendAll,
  submits,
  T,
} from '../support/store.ts'

const images = (store: Store, at: number, over: object = {}) =>
  store.claimImages({ now: at, leaseUntil: at + MINUTE, limit: 100, imagesSince: 0, stock: 100, ...over })
const sought = (store: Store, at: number) =>
  store.claimSought({ now: at, leaseUntil: at + MINUTE, limit: 100 })
const polls = (store: Store, at: number) => store.claimPolls({ now: at, leaseUntil: at + MINUTE, limit: 100 })
/** Its POST was sent and never answered. */
async function lose(store: Store, at = T): Promise<void> {
  for (const { id, fence } of await submits(store, at))
    await store.change(id, answered({ kind: 'unknown' }, at, at + MINUTE), at, fence)
}

describe.each(ENGINES)('%s', (_, open) => {
  describe('claimImages', () => {
    test('gives the oldest first, under a lease and a fence, and not those that were seen', async () => {
      await using f = await fixture(open)
      const [late, early] = [await add(f.store, f.app, T + 1), await add(f.store, f.app, T)]
      const [first] = await images(f.store, T + 1, { limit: 1 })
      expect(first).toMatchObject({ id: early.id, fence: 1, dueAt: T + 1 + MINUTE, submission: 'none' })
      expect(idsOf(await images(f.store, T + 1))).toEqual([late.id])
      expect(await images(f.store, T + 1)).toEqual([])
      await f.store.change(early.id, imageSeen(T + 2), T + 2, 1)
      expect(idsOf(await images(f.store, T + HOUR))).toEqual([late.id])
    })

    test('what was seen too long ago is looked at again, and is not sent before', async () => {
      await using f = await fixture(open)
      const { id } = await add(f.store, f.app)
      await seeAll(f.store, T)
      const since = { imagesSince: T }
      const claim = { now: T + HOUR, leaseUntil: T + 2 * HOUR, limit: 9, concurrency: null, perMinute: null }
      expect(await f.store.claimSubmits({ ...claim, ...since })).toEqual([])
      expect(idsOf(await images(f.store, T + HOUR, since))).toEqual([id])
      await f.store.change(id, imageSeen(T + HOUR), T + HOUR)
      expect(idsOf(await f.store.claimSubmits({ ...claim, ...since }))).toEqual([id])
    })

    test('makes no more ready than the stock; what waits for its next try is none of it', async () => {
      await using f = await fixture(open)
      const ids = await addMany(f.store, f.app, 6)
      const claimed = await images(f.store, T + SECOND, { stock: 2 })
      expect(idsOf(claimed)).toEqual(ids.slice(0, 2))
      for (const { id, fence } of claimed)
        await f.store.change(id, imageMissed(T + SECOND, T + HOUR), T + SECOND, fence)
      const next = await images(f.store, T + SECOND, { stock: 2 })
      expect(idsOf(next)).toEqual(ids.slice(2, 4))
      for (const { id, fence } of next) await f.store.change(id, imageSeen(T + SECOND), T + SECOND, fence)
      expect(await images(f.store, T + SECOND, { stock: 2 })).toEqual([])
      await submits(f.store, T + SECOND, { limit: 1 })
    })

    test('what was refused once keeps nobody else from being made ready', async () => {
      await using f = await fixture(open)
      const ids = await addMany(f.store, f.app, 3)
      for (const { id, fence } of await submits(f.store, T + SECOND, { limit: 2 }))
        await f.store.change(id, answered({ kind: 'account' }, T, T), T, fence)
      const other = await add(f.store, f.app, T + MINUTE)
      expect(idsOf(await images(f.store, T + HOUR, { stock: 2 }))).toEqual([other.id])
      expect(ids).toHaveLength(3)
    })
  })

  describe('what may be running upstream', () => {
    test('takes a place, whatever its app was told, until upstream says that it ended', async () => {
      await using f = await fixture(open)
      await addMany(f.store, f.app, 3)
      const [first, second] = await sendAll(f.store, T + SECOND)
      await f.store.change(first!.id, canceled(T + SECOND), T + SECOND)
      await f.store.change(second!.id, canceled(T + SECOND), T + SECOND)
      await f.store.change(second!.id, seen(COMPLETED, T + SECOND, T), T + SECOND)
      await add(f.store, f.app, T + MINUTE)
      expect(await f.store.tally()).toEqual({ waiting: 1, begun: 0, inFlight: 2, late: 0, sought: 0 })
      expect(await submits(f.store, T + MINUTE, { concurrency: 2 })).toEqual([])
      expect(await submits(f.store, T + MINUTE, { concurrency: 3 })).toHaveLength(1)
      expect((await f.store.usage(wholeOf(f.app), T)).inFlight).toBe(3)
    })

    test('a CANCELED one is looked at like any other, and what it becomes is told to nobody', async () => {
      await using f = await fixture(open)
      await add(f.store, f.app)
      const [{ id } = { id: '' }] = await sendAll(f.store, T + SECOND)
      await f.store.change(id, canceled(T + SECOND), T + SECOND)
      const told = (await log(f.store, f.app)).length
      expect(idsOf(await polls(f.store, T + MINUTE))).toEqual([id])
      await f.store.change(id, seen(COMPLETED, T + MINUTE, T), T + MINUTE)
      expect(await f.store.get(wholeOf(f.app), id)).toMatchObject({
        status: 'CANCELED',
        outputs: [],
        cost: PRICE,
      })
      expect(await log(f.store, f.app)).toHaveLength(told)
      expect(await polls(f.store, T + HOUR)).toEqual([])
    })
  })

  test('the tally knows each by what it waits for', async () => {
    await using f = await fixture(open)
    const ids = await addMany(f.store, f.app, 5)
    await sendAll(f.store, T + SECOND)
    const late = observed({ status: 'waiting' }, { now: T + HOUR, next: T + HOUR, deadlineMs: 0, graceMs: 0 })
    for (const id of ids.slice(0, 2)) await f.store.change(id, late, T + HOUR)
    await add(f.store, f.app, T + MINUTE)
    await lose(f.store, T + MINUTE)
    await addMany(f.store, f.app, 2, T + HOUR)
    expect(await f.store.tally()).toEqual({ waiting: 2, begun: 0, inFlight: 4, late: 2, sought: 1 })
  })

  describe('putOff', () => {
    test('moves what it may in one go: not a row whose fence is another’s, nor one that has ended', async () => {
      await using f = await fixture(open)
      await addMany(f.store, f.app, 3)
      await sendAll(f.store, T + SECOND)
      const [mine, theirs, ended] = await polls(f.store, T + MINUTE)
      await f.store.change(ended!.id, seen(COMPLETED, T + MINUTE, T), T + MINUTE)
      const rings = f.rings
      const later = { dueAt: T + HOUR, runningAt: T + MINUTE }
      await f.store.putOff([
        { id: mine!.id, fence: mine!.fence, ...later },
        { id: theirs!.id, fence: theirs!.fence - 1, ...later },
        { id: ended!.id, fence: ended!.fence, ...later },
      ])
      expect(await jobOf(f.store, mine!.id)).toMatchObject(later)
      expect(await jobOf(f.store, theirs!.id)).toEqual(theirs)
      expect(await jobOf(f.store, ended!.id)).toMatchObject({ runningAt: null })
      expect(f.rings).toBe(rings)
      await f.store.putOff([])
    })
  })

  describe('a POST without an answer', () => {
    test('is sought once it is due, under a lease, until all that can be known is known', async () => {
      await using f = await fixture(open)
      const { id } = await add(f.store, f.app)
      await lose(f.store)
      expect(await sought(f.store, T + MINUTE - 1)).toEqual([])
      const [job] = await sought(f.store, T + MINUTE)
      expect(job).toMatchObject({ id, submission: 'unknown', dueAt: T + 2 * MINUTE })
      expect(await sought(f.store, T + MINUTE)).toEqual([])
      await f.store.change(
        id,
        unfound({ now: T + 200 * HOUR, next: T, patienceMs: MINUTE }, false),
        T + 200 * HOUR,
        job!.fence,
      )
      expect(await sought(f.store, T + 1000 * HOUR)).toEqual([])
      expect(await f.store.get(wholeOf(f.app), id)).toMatchObject({
        status: 'FAILED',
        error: 'SUBMISSION_UNKNOWN',
      })
    })

    test('is its app’s, in flight, while it may yet be found', async () => {
      await using f = await fixture(open)
      const { id } = await add(f.store, f.app)
      await lose(f.store)
      expect(await f.store.usage(wholeOf(f.app), T)).toMatchObject({ inFlight: 1, queued: 0 })
      expect(await f.store.queuePositions(f.app, [id])).toEqual([null])
      await f.store.change(
        id,
        unfound({ now: T + HOUR, next: T + HOUR, patienceMs: MINUTE }, false),
        T + HOUR,
      )
      expect(await f.store.usage(wholeOf(f.app), T)).toMatchObject({ inFlight: 0 })
    })

    test('is sought before what was given up, however long that is due', async () => {
      await using f = await fixture(open)
      const [given, waits] = await addMany(f.store, f.app, 2)
      await lose(f.store, T + SECOND)
      const { fence } = (await sought(f.store, T + HOUR)).find(job => job.id === given)!
      await f.store.change(
        given!,
        unfound({ now: T + HOUR, next: T + HOUR, patienceMs: MINUTE }, false),
        T + HOUR,
        fence,
      )
      const claim = { now: T + 2 * HOUR, leaseUntil: T + 3 * HOUR, limit: 1 }
      expect(idsOf(await f.store.claimSought(claim))).toEqual([waits])
      expect(idsOf(await f.store.claimSought(claim))).toEqual([given])
    })

    test('has rivals: others of its model near it that have no answer, of whatever app, begun, unknown or canceled', async () => {
      await using f = await fixture(open)
      const other = await newApp(f.store)
      await add(f.store, f.app)
      await lose(f.store)
      const [job] = await sought(f.store, T + MINUTE)
      const rival = (from = T - HOUR, to = T + HOUR) => f.store.hasRival(job!, from, to)
      expect(await rival()).toBe(false)

      const model = { model: 'WAN_2_2_I2V_PLUS_480P' } as const
      await add(f.store, other, T + SECOND, model)
      await f.store.resume((await f.store.paused())!.version)
      const [unlike] = await submits(f.store, T + SECOND)
      expect(await rival()).toBe(false)
      await f.store.change(unlike!.id, accepted('unlike', T), T)

      const { id } = await add(f.store, other, T + MINUTE)
      await submits(f.store, T + MINUTE)
      expect(await rival()).toBe(true)
      expect([await rival(T - HOUR, T + MINUTE - 1), await rival(T + MINUTE, T + MINUTE)]).toEqual([
        false,
        true,
      ])
      await f.store.change(id, canceled(T + MINUTE), T + MINUTE)
      await f.store.change(id, abandoned(T + MINUTE, T), T + MINUTE)
      expect(await rival()).toBe(true)
      await f.store.change(id, accepted('its own', T), T)
      expect(await rival()).toBe(false)
      expect([await f.store.ownerOf('its own'), await f.store.ownerOf('nobody’s')]).toEqual([id, null])
    })

    test('and one upstream job are one: no second row gets its id', async () => {
      await using f = await fixture(open)
      const ids = await addMany(f.store, f.app, 2)
      await lose(f.store, T + SECOND)
      await f.store.change(ids[0]!, accepted('u', T), T)
      await expect(f.store.change(ids[1]!, accepted('u', T), T)).rejects.toThrow()
      expect(await f.store.ownerOf('u')).toBe(ids[0])
    })
  })

  describe('shift', () => {
    test.each([2 * HOUR, -2 * HOUR])('moves what waits with a clock that was set by %i ms', async ms => {
      await using f = await fixture(open)
      await addMany(f.store, f.app, 2)
      const [sent] = await sendAll(f.store, T + SECOND)
      await add(f.store, f.app, T + MINUTE)
      await lose(f.store, T + MINUTE)
      const waiting = await add(f.store, f.app, T + HOUR)
      await f.store.change(waiting.id, imageMissed(T + HOUR, T + HOUR + MINUTE), T + HOUR)
      const pause = (await f.store.paused())!
      const [lost] = await sought(f.store, T + 2 * MINUTE)
      await f.store.shift(ms)

      expect(await jobOf(f.store, lost!.id)).toMatchObject({
        begunAt: lost!.begunAt! + ms,
        dueAt: lost!.dueAt + ms,
      })
      expect(await jobOf(f.store, sent!.id)).toEqual({ ...sent!, dueAt: sent!.dueAt + ms })
      expect(await f.store.paused()).toEqual({ ...pause, since: pause.since + ms, until: pause.until + ms })
      expect(await images(f.store, T + HOUR + MINUTE + ms - 1)).toEqual([])
      expect(idsOf(await images(f.store, T + HOUR + MINUTE + ms))).toEqual([waiting.id])
    })
  })

  test('a pause that a wrong clock put into a far future is probed now', async () => {
    await using f = await fixture(open)
    const { id } = await add(f.store, f.app)
    await f.store.change(id, () => ({ pause: { reason: 'account', until: T + 1000 * HOUR } }), T)
    expect(await f.store.claimProbe(T, () => T + MINUTE)).toMatchObject({ reason: 'account' })
    expect(await f.store.claimProbe(T, () => T + MINUTE)).toBeNull()
  })

  test('overdue are those that were accepted before and take a place still', async () => {
    await using f = await fixture(open)
    await addMany(f.store, f.app, 3)
    const [first, second] = await sendAll(f.store, T + SECOND)
    await f.store.change(first!.id, seen(COMPLETED, T + MINUTE, T), T + MINUTE)
    await f.store.change(second!.id, canceled(T + MINUTE), T + MINUTE)
    expect(await f.store.overdue(T, 9)).toEqual([])
    expect(await f.store.overdue(T + SECOND, 9)).toHaveLength(2)
    expect(await f.store.overdue(T + SECOND, 1)).toHaveLength(1)
  })

  describe('an app', () => {
    test('with looks in hand enough is passed over for others', async () => {
      await using f = await fixture(open)
      const other = await newApp(f.store)
      await addMany(f.store, f.app, 2)
      const theirs = await add(f.store, other, T + MINUTE)
      expect(idsOf(await images(f.store, T + MINUTE, { exceptApps: [f.app] }))).toEqual([theirs.id])
    })

    test('whose images failed once comes behind all that were never looked at', async () => {
      await using f = await fixture(open)
      const failed = await add(f.store, f.app)
      await images(f.store, T)
      await f.store.change(failed.id, imageMissed(T, T), T)
      const fresh = await add(f.store, f.app, T + MINUTE)
      expect(idsOf(await images(f.store, T + MINUTE, { limit: 1 }))).toEqual([fresh.id])
    })

    test('paused, has no image looked at again that was seen', async () => {
      await using f = await fixture(open)
      const seenOne = await add(f.store, f.app)
      await seeAll(f.store, T)
      await f.store.change(seenOne.id, () => ({ pause: { reason: 'account', until: T } }), T)
      const fresh = await add(f.store, f.app, T + MINUTE)
      expect(idsOf(await images(f.store, T + HOUR, { imagesSince: T + MINUTE }))).toEqual([fresh.id])
      await f.store.resume((await f.store.paused())!.version)
      expect(idsOf(await images(f.store, T + HOUR, { imagesSince: T + MINUTE }))).toEqual([seenOne.id])
    })

    test('whose job was refused three times lets the others go first, and rests it', async () => {
      await using f = await fixture(open)
      const { id } = await add(f.store, f.app)
      let at = T
      for (let n = 0; n < 3; n++) {
        await submits(f.store, at)
        await f.store.change(id, answered({ kind: 'account' }, at, at), at)
        await f.store.resume((await f.store.paused())!.version)
        at += MINUTE
      }
      expect((await jobOf(f.store, id)).dueAt).toBe(at)
      const good = await add(f.store, f.app, at)
      const [trial] = await submits(f.store, at, { limit: 1 })
      expect(trial!.id).toBe(good.id)
      await f.store.change(good.id, accepted('u', at), at)
      const next = await add(f.store, f.app, at + 1)
      expect(idsOf(await submits(f.store, at + 1, { limit: 1 }))).toEqual([next.id])
    })
  })

  describe('pace', () => {
    test('a 429 halves what may run at once, and each such number accepted allows one more', async () => {
      await using f = await fixture(open)
      await addMany(f.store, f.app, 20)
      await seeAll(f.store, T + SECOND)
      const jobs = await submits(f.store, T + SECOND, { limit: 6 })
      for (const { id, fence } of jobs.slice(1)) await f.store.change(id, accepted(`up-${id}`, T), T, fence)
      expect(await f.store.pace()).toBeNull()
      const throttled = answered({ kind: 'throttled', retryAfterMs: 1000 }, T, T)
      await f.store.change(jobs[0]!.id, throttled, T + MINUTE, jobs[0]!.fence)
      expect(await f.store.pace()).toEqual({ concurrency: 3, ceiling: 6, accepted: 0, since: T + MINUTE })
      await f.store.shift(HOUR)
      expect((await f.store.pace())?.since).toBe(T + MINUTE + HOUR)
      await f.store.shift(-HOUR)
      await f.store.resume((await f.store.paused())!.version)
      expect(await submits(f.store, T + MINUTE)).toEqual([])
      for (const { id } of jobs.slice(1)) await f.store.change(id, seen(COMPLETED, T, T), T)
      const allowed: number[] = []
      for (let turn = 0; turn < 20 && (await f.store.pace()) !== null; turn++) {
        const next = await submits(f.store, T + MINUTE)
        allowed.push(next.length)
        for (const { id, fence } of next) await f.store.change(id, accepted(`up-${id}`, T), T, fence)
        for (const { id } of next) await f.store.change(id, seen(COMPLETED, T, T), T)
      }
      // On trial one; with it and two more three were accepted, with four more four; with five it is over.
      expect(allowed).toEqual([1, 3, 4, 5])
    })
  })
})
