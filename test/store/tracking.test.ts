import { describe, expect, test } from 'vitest'
import { fullScope } from '../../src/domain/access-scope.ts'
import {
  canceled,
  imageCheckFailed,
  imageVerified,
  notListedUpstream,
  pollSucceeded,
  submitAbandoned,
  submitAccepted,
  submitAnswered,
} from '../../src/domain/transitions.ts'
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
  PRICE,
  pollSucceededAt,
  SECOND,
  submitAll,
  T,
  verifyAllImages,
} from '../support/store.ts'

const claimImages = (store: Store, at: number, over: object = {}) =>
  store.claimImageChecks({
    now: at,
    leaseUntil: at + MINUTE,
    limit: 100,
    imageVerifiedAfter: 0,
    readyTarget: 100,
    ...over,
  })
const claimUnresolved = (store: Store, at: number) =>
  store.claimUnresolvedSubmits({ now: at, leaseUntil: at + MINUTE, limit: 100 })
const claimPolls = (store: Store, at: number) =>
  store.claimPolls({ now: at, leaseUntil: at + MINUTE, limit: 100 })
/** Claims the ready jobs; their POSTs are sent and never answered. */
async function submitWithoutAnswer(store: Store, at = T): Promise<void> {
  for (const { id, fence } of await claimReadySubmits(store, at))
    await store.change(id, submitAnswered({ kind: 'unknown' }, at, at + MINUTE), at, fence)
}

describe.each(ENGINES)('%s', (_, { open, followsProcessClock }) => {
  describe('claimImageChecks', () => {
    test('claims the oldest first, with a lease and a fence, and no verified ones', async () => {
      await using f = await fixture(open)
      const [late, early] = [
        await addPrediction(f.store, f.app, T + 1),
        await addPrediction(f.store, f.app, T),
      ]
      const [first] = await claimImages(f.store, T + 1, { limit: 1 })
      expect(first).toMatchObject({ id: early.id, fence: 1, dueAt: T + 1 + MINUTE, submission: 'none' })
      expect(idsOf(await claimImages(f.store, T + 1))).toEqual([late.id])
      expect(await claimImages(f.store, T + 1)).toEqual([])
      await f.store.change(early.id, imageVerified(T + 2), T + 2, 1)
      expect(idsOf(await claimImages(f.store, T + HOUR))).toEqual([late.id])
    })

    test('an old verification is repeated before the job is sent', async () => {
      await using f = await fixture(open)
      const { id } = await addPrediction(f.store, f.app)
      await verifyAllImages(f.store, T)
      const since = { imageVerifiedAfter: T }
      const claim = {
        now: T + HOUR,
        leaseUntil: T + 2 * HOUR,
        limit: 9,
        upstreamConcurrency: null,
        upstreamSubmitsPerMinute: null,
      }
      expect(await f.store.claimSubmits({ ...claim, ...since })).toEqual([])
      expect(idsOf(await claimImages(f.store, T + HOUR, since))).toEqual([id])
      await f.store.change(id, imageVerified(T + HOUR), T + HOUR)
      expect(idsOf(await f.store.claimSubmits({ ...claim, ...since }))).toEqual([id])
    })

    test('makes no more ready than readyTarget; jobs that wait for a retry do not count', async () => {
      await using f = await fixture(open)
      const ids = await addPredictions(f.store, f.app, 6)
      const claimed = await claimImages(f.store, T + SECOND, { readyTarget: 2 })
      expect(idsOf(claimed)).toEqual(ids.slice(0, 2))
      for (const { id, fence } of claimed)
        await f.store.change(id, imageCheckFailed(T + SECOND, T + HOUR), T + SECOND, fence)
      const next = await claimImages(f.store, T + SECOND, { readyTarget: 2 })
      expect(idsOf(next)).toEqual(ids.slice(2, 4))
      for (const { id, fence } of next) await f.store.change(id, imageVerified(T + SECOND), T + SECOND, fence)
      expect(await claimImages(f.store, T + SECOND, { readyTarget: 2 })).toEqual([])
      await claimReadySubmits(f.store, T + SECOND, { limit: 1 })
    })

    test('a job that upstream refused keeps no other job from being made ready', async () => {
      await using f = await fixture(open)
      const ids = await addPredictions(f.store, f.app, 3)
      for (const { id, fence } of await claimReadySubmits(f.store, T + SECOND, { limit: 2 }))
        await f.store.change(id, submitAnswered({ kind: 'account' }, T, T), T, fence)
      const other = await addPrediction(f.store, f.app, T + MINUTE)
      expect(idsOf(await claimImages(f.store, T + HOUR, { readyTarget: 2 }))).toEqual([other.id])
      expect(ids).toHaveLength(3)
    })
  })

  describe('a job that may run upstream', () => {
    test('occupies a slot until upstream reports its end, also if the client sees it as canceled', async () => {
      await using f = await fixture(open)
      await addPredictions(f.store, f.app, 3)
      const [first, second] = await submitAll(f.store, T + SECOND)
      await f.store.change(first!.id, canceled(T + SECOND), T + SECOND)
      await f.store.change(second!.id, canceled(T + SECOND), T + SECOND)
      await f.store.change(second!.id, pollSucceededAt(COMPLETED, T + SECOND, T), T + SECOND)
      await addPrediction(f.store, f.app, T + MINUTE)
      expect(await f.store.countByState()).toEqual({
        queued: 1,
        held: 0,
        submitting: 0,
        inFlight: 2,
        expired: 0,
        unresolved: 0,
      })
      expect(await claimReadySubmits(f.store, T + MINUTE, { upstreamConcurrency: 2 })).toEqual([])
      expect(await claimReadySubmits(f.store, T + MINUTE, { upstreamConcurrency: 3 })).toHaveLength(1)
      expect((await f.store.usage(fullScope(f.app), T)).inFlight).toBe(3)
    })

    test('that is CANCELED is polled like any other, and its end causes no event', async () => {
      await using f = await fixture(open)
      await addPrediction(f.store, f.app)
      const [{ id } = { id: '' }] = await submitAll(f.store, T + SECOND)
      await f.store.change(id, canceled(T + SECOND), T + SECOND)
      const eventCount = (await eventsOf(f.store, f.app)).length
      expect(idsOf(await claimPolls(f.store, T + MINUTE))).toEqual([id])
      await f.store.change(id, pollSucceededAt(COMPLETED, T + MINUTE, T), T + MINUTE)
      expect(await f.store.get(fullScope(f.app), id)).toMatchObject({
        status: 'CANCELED',
        outputs: [],
        cost: PRICE,
      })
      expect(await eventsOf(f.store, f.app)).toHaveLength(eventCount)
      expect(await claimPolls(f.store, T + HOUR)).toEqual([])
    })
  })

  test('countByState counts each row once', async () => {
    await using f = await fixture(open)
    const ids = await addPredictions(f.store, f.app, 5)
    await submitAll(f.store, T + SECOND)
    const late = pollSucceeded(
      { status: 'waiting' },
      { now: T + HOUR, nextPollAt: T + HOUR, deadlineMs: 0, outputGraceMs: 0 },
    )
    for (const id of ids.slice(0, 2)) await f.store.change(id, late, T + HOUR)
    await addPrediction(f.store, f.app, T + MINUTE)
    await submitWithoutAnswer(f.store, T + MINUTE)
    await addPredictions(f.store, f.app, 2, T + HOUR)
    expect(await f.store.countByState()).toEqual({
      queued: 2,
      held: 0,
      submitting: 0,
      inFlight: 4,
      expired: 2,
      unresolved: 1,
    })
  })

  describe('reschedule', () => {
    test('moves the given rows in one commit, but none with another fence and none that has ended', async () => {
      await using f = await fixture(open)
      await addPredictions(f.store, f.app, 3)
      await submitAll(f.store, T + SECOND)
      const [mine, theirs, ended] = await claimPolls(f.store, T + MINUTE)
      await f.store.change(ended!.id, pollSucceededAt(COMPLETED, T + MINUTE, T), T + MINUTE)
      const notifications = f.notifications
      const later = { dueAt: T + HOUR, lastSeenRunningAt: T + MINUTE }
      await f.store.reschedule([
        { id: mine!.id, fence: mine!.fence, ...later },
        { id: theirs!.id, fence: theirs!.fence - 1, ...later },
        { id: ended!.id, fence: ended!.fence, ...later },
      ])
      expect(await jobOf(f.store, mine!.id)).toMatchObject(later)
      expect(await jobOf(f.store, theirs!.id)).toEqual(theirs)
      expect(await jobOf(f.store, ended!.id)).toMatchObject({ lastSeenRunningAt: null })
      expect(f.notifications).toBe(notifications)
      await f.store.reschedule([])
    })
  })

  describe('a POST without an answer', () => {
    test('is claimed by the reconciler once due, under a lease, until nothing more can be found', async () => {
      await using f = await fixture(open)
      const { id } = await addPrediction(f.store, f.app)
      await submitWithoutAnswer(f.store)
      expect(await claimUnresolved(f.store, T + MINUTE - 1)).toEqual([])
      const [job] = await claimUnresolved(f.store, T + MINUTE)
      expect(job).toMatchObject({ id, submission: 'unknown', dueAt: T + 2 * MINUTE })
      expect(await claimUnresolved(f.store, T + MINUTE)).toEqual([])
      await f.store.change(
        id,
        notListedUpstream({ now: T + 200 * HOUR, nextSearchAt: T, submitUnknownAfterMs: MINUTE }, false),
        T + 200 * HOUR,
        job!.fence,
      )
      expect(await claimUnresolved(f.store, T + 1000 * HOUR)).toEqual([])
      expect(await f.store.get(fullScope(f.app), id)).toMatchObject({
        status: 'FAILED',
        error: 'SUBMISSION_UNKNOWN',
      })
    })

    test('counts as in flight for its app while it may yet be found', async () => {
      await using f = await fixture(open)
      const { id } = await addPrediction(f.store, f.app)
      await submitWithoutAnswer(f.store)
      expect(await f.store.usage(fullScope(f.app), T)).toMatchObject({ inFlight: 1, queued: 0 })
      expect(await f.store.queuePositions(f.app, [id])).toEqual([null])
      await f.store.change(
        id,
        notListedUpstream({ now: T + HOUR, nextSearchAt: T + HOUR, submitUnknownAfterMs: MINUTE }, false),
        T + HOUR,
      )
      expect(await f.store.usage(fullScope(f.app), T)).toMatchObject({ inFlight: 0 })
    })

    test('is searched before rows that were given up, however long those are due', async () => {
      await using f = await fixture(open)
      const [expired, waits] = await addPredictions(f.store, f.app, 2)
      await submitWithoutAnswer(f.store, T + SECOND)
      const { fence } = (await claimUnresolved(f.store, T + HOUR)).find(job => job.id === expired)!
      await f.store.change(
        expired!,
        notListedUpstream({ now: T + HOUR, nextSearchAt: T + HOUR, submitUnknownAfterMs: MINUTE }, false),
        T + HOUR,
        fence,
      )
      const claim = { now: T + 2 * HOUR, leaseUntil: T + 3 * HOUR, limit: 1 }
      expect(idsOf(await f.store.claimUnresolvedSubmits(claim))).toEqual([waits])
      expect(idsOf(await f.store.claimUnresolvedSubmits(claim))).toEqual([expired])
    })

    test('conflicts with others of its model near it that have no answer, of any app: begun, unknown or canceled', async () => {
      await using f = await fixture(open)
      const other = await newApp(f.store)
      await addPrediction(f.store, f.app)
      await submitWithoutAnswer(f.store)
      const [job] = await claimUnresolved(f.store, T + MINUTE)
      const hasConflict = (from = T - HOUR, to = T + HOUR) => f.store.hasConflictingSubmit(job!, from, to)
      expect(await hasConflict()).toBe(false)

      const model = { model: 'WAN_2_2_I2V_PLUS_480P' } as const
      await addPrediction(f.store, other, T + SECOND, model)
      await f.store.halfOpenCircuit((await f.store.submitCircuit())!.version)
      const [unlike] = await claimReadySubmits(f.store, T + SECOND)
      expect(await hasConflict()).toBe(false)
      await f.store.change(unlike!.id, submitAccepted('unlike', T), T)

      const { id } = await addPrediction(f.store, other, T + MINUTE)
      await claimReadySubmits(f.store, T + MINUTE)
      expect(await hasConflict()).toBe(true)
      expect([
        await hasConflict(T - HOUR, T + MINUTE - 1),
        await hasConflict(T + MINUTE, T + MINUTE),
      ]).toEqual([false, true])
      await f.store.change(id, canceled(T + MINUTE), T + MINUTE)
      await f.store.change(id, submitAbandoned(T + MINUTE, T), T + MINUTE)
      expect(await hasConflict()).toBe(true)
      await f.store.change(id, submitAccepted('its own', T), T)
      expect(await hasConflict()).toBe(false)
      expect([
        await f.store.findIdByUpstreamId('its own'),
        await f.store.findIdByUpstreamId('unknown'),
      ]).toEqual([id, null])
    })

    test('gets an upstream id that no other row has', async () => {
      await using f = await fixture(open)
      const ids = await addPredictions(f.store, f.app, 2)
      await submitWithoutAnswer(f.store, T + SECOND)
      await f.store.change(ids[0]!, submitAccepted('u', T), T)
      await expect(f.store.change(ids[1]!, submitAccepted('u', T), T)).rejects.toThrow()
      expect(await f.store.findIdByUpstreamId('u')).toBe(ids[0])
    })
  })

  describe.runIf(followsProcessClock)('followProcessClock', () => {
    test.each([2 * HOUR, -2 * HOUR])('moves deadlines with a clock that was set by %i ms', async ms => {
      await using f = await fixture(open)
      await addPredictions(f.store, f.app, 2)
      const [sent] = await submitAll(f.store, T + SECOND)
      await addPrediction(f.store, f.app, T + MINUTE)
      await submitWithoutAnswer(f.store, T + MINUTE)
      const waiting = await addPrediction(f.store, f.app, T + HOUR)
      await f.store.change(waiting.id, imageCheckFailed(T + HOUR, T + HOUR + MINUTE), T + HOUR)
      const circuit = (await f.store.submitCircuit())!
      const [lost] = await claimUnresolved(f.store, T + 2 * MINUTE)
      await f.store.followProcessClock(ms)

      expect(await jobOf(f.store, lost!.id)).toMatchObject({
        submitStartedAt: lost!.submitStartedAt! + ms,
        dueAt: lost!.dueAt + ms,
      })
      expect(await jobOf(f.store, sent!.id)).toEqual({
        ...sent!,
        version: sent!.version + 1,
        dueAt: sent!.dueAt + ms,
      })
      expect(await f.store.submitCircuit()).toEqual({
        ...circuit,
        since: circuit.since + ms,
        until: circuit.until + ms,
      })
      expect(await claimImages(f.store, T + HOUR + MINUTE + ms - 1)).toEqual([])
      expect(idsOf(await claimImages(f.store, T + HOUR + MINUTE + ms))).toEqual([waiting.id])
    })

    test('moves the time since which the concurrency limit applies', async () => {
      await using f = await fixture(open)
      await addPrediction(f.store, f.app)
      const [{ id, fence } = { id: '', fence: 0 }] = await claimReadySubmits(f.store, T)
      await f.store.change(id, submitAnswered({ kind: 'throttled', retryAfterMs: 1000 }, T, T), T, fence)
      await f.store.followProcessClock(HOUR)
      expect((await f.store.concurrencyLimit())?.since).toBe(T + HOUR)
    })
  })

  test('an open circuit that a wrong clock put far into the future is probed now', async () => {
    await using f = await fixture(open)
    const { id } = await addPrediction(f.store, f.app)
    await f.store.change(id, () => ({ submitCircuit: { reason: 'account', until: T + 1000 * HOUR } }), T)
    expect(await f.store.claimCircuitProbe(T, () => T + MINUTE)).toMatchObject({ reason: 'account' })
    expect(await f.store.claimCircuitProbe(T, () => T + MINUTE)).toBeNull()
  })

  test('overdue are jobs accepted earlier that still occupy a slot', async () => {
    await using f = await fixture(open)
    await addPredictions(f.store, f.app, 3)
    const [first, second] = await submitAll(f.store, T + SECOND)
    await f.store.change(first!.id, pollSucceededAt(COMPLETED, T + MINUTE, T), T + MINUTE)
    await f.store.change(second!.id, canceled(T + MINUTE), T + MINUTE)
    expect(await f.store.findOverdueIds(T, 9)).toEqual([])
    expect(await f.store.findOverdueIds(T + SECOND, 9)).toHaveLength(2)
    expect(await f.store.findOverdueIds(T + SECOND, 1)).toHaveLength(1)
  })

  describe('an app', () => {
    test('with enough image checks in hand is passed over', async () => {
      await using f = await fixture(open)
      const other = await newApp(f.store)
      await addPredictions(f.store, f.app, 2)
      const theirs = await addPrediction(f.store, other, T + MINUTE)
      expect(idsOf(await claimImages(f.store, T + MINUTE, { thisProcess: { busyApps: [f.app] } }))).toEqual([
        theirs.id,
      ])
    })

    test('whose image checks failed once comes after all jobs without a check', async () => {
      await using f = await fixture(open)
      const failed = await addPrediction(f.store, f.app)
      await claimImages(f.store, T)
      await f.store.change(failed.id, imageCheckFailed(T, T), T)
      const fresh = await addPrediction(f.store, f.app, T + MINUTE)
      expect(idsOf(await claimImages(f.store, T + MINUTE, { limit: 1 }))).toEqual([fresh.id])
    })

    test('gets no verified image checked again while the circuit is open', async () => {
      await using f = await fixture(open)
      const seenOne = await addPrediction(f.store, f.app)
      await verifyAllImages(f.store, T)
      await f.store.change(seenOne.id, () => ({ submitCircuit: { reason: 'account', until: T } }), T)
      const fresh = await addPrediction(f.store, f.app, T + MINUTE)
      expect(idsOf(await claimImages(f.store, T + HOUR, { imageVerifiedAfter: T + MINUTE }))).toEqual([
        fresh.id,
      ])
      await f.store.halfOpenCircuit((await f.store.submitCircuit())!.version)
      expect(idsOf(await claimImages(f.store, T + HOUR, { imageVerifiedAfter: T + MINUTE }))).toEqual([
        seenOne.id,
      ])
    })

    test('whose job was refused three times lets the others go first, and its job waits', async () => {
      await using f = await fixture(open)
      const { id } = await addPrediction(f.store, f.app)
      let at = T
      for (let n = 0; n < 3; n++) {
        await claimReadySubmits(f.store, at)
        await f.store.change(id, submitAnswered({ kind: 'account' }, at, at), at)
        await f.store.halfOpenCircuit((await f.store.submitCircuit())!.version)
        at += MINUTE
      }
      expect((await jobOf(f.store, id)).dueAt).toBe(at)
      const good = await addPrediction(f.store, f.app, at)
      const [probe] = await claimReadySubmits(f.store, at, { limit: 1 })
      expect(probe!.id).toBe(good.id)
      await f.store.change(good.id, submitAccepted('u', at), at)
      const next = await addPrediction(f.store, f.app, at + 1)
      expect(idsOf(await claimReadySubmits(f.store, at + 1, { limit: 1 }))).toEqual([next.id])
    })
  })

  describe('concurrency limit', () => {
    test('a 429 halves it, and each time so many jobs were accepted it rises by one', async () => {
      await using f = await fixture(open)
      await addPredictions(f.store, f.app, 20)
      await verifyAllImages(f.store, T + SECOND)
      const jobs = await claimReadySubmits(f.store, T + SECOND, { limit: 6 })
      for (const { id, fence } of jobs.slice(1))
        await f.store.change(id, submitAccepted(`up-${id}`, T), T, fence)
      expect(await f.store.concurrencyLimit()).toBeNull()
      const throttled = submitAnswered({ kind: 'throttled', retryAfterMs: 1000 }, T, T)
      await f.store.change(jobs[0]!.id, throttled, T + MINUTE, jobs[0]!.fence)
      expect(await f.store.concurrencyLimit()).toEqual({
        concurrency: 3,
        ceiling: 6,
        accepted: 0,
        since: T + MINUTE,
      })
      await f.store.halfOpenCircuit((await f.store.submitCircuit())!.version)
      expect(await claimReadySubmits(f.store, T + MINUTE)).toEqual([])
      for (const { id } of jobs.slice(1)) await f.store.change(id, pollSucceededAt(COMPLETED, T, T), T)
      const allowed: number[] = []
      for (let round = 0; round < 20 && (await f.store.concurrencyLimit()) !== null; round++) {
        const next = await claimReadySubmits(f.store, T + MINUTE)
        allowed.push(next.length)
        for (const { id, fence } of next) await f.store.change(id, submitAccepted(`up-${id}`, T), T, fence)
        for (const { id } of next) await f.store.change(id, pollSucceededAt(COMPLETED, T, T), T)
      }
      // Half-open: one. With two more, three were accepted: the limit rises to four, then to five, then it is lifted.
      expect(allowed).toEqual([1, 3, 4, 5])
    })
  })
})
