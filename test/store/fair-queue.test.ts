import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { fullScope } from '../../src/domain/access-scope.ts'
import type { AppLimits } from '../../src/domain/app-limits.ts'
import { MAX_CREDIT_MS } from '../../src/domain/fair-queue.ts'
import type { AppId, Job } from '../../src/domain/prediction.ts'
import { imageCheckFailed, imageVerified, submitAnswered } from '../../src/domain/transitions.ts'
import type { ImageClaim, Store, SubmitClaim } from '../../src/store/store.ts'
import { ENGINES } from '../support/engines.ts'
import {
  addPrediction,
  COMPLETED,
  fixture,
  HOUR,
  idsOf,
  MINUTE,
  pageRequest,
  pollSucceededAt,
  SECOND,
  sharedFixture,
  T,
  times,
} from '../support/store.ts'

const claim = (now: number, limit: number) => ({ now, leaseUntil: now + 10_000 * HOUR, limit })

const claimSubmits = (store: Store, now: number, limit: number, over: Partial<SubmitClaim> = {}) =>
  store.claimSubmits({
    ...claim(now, limit),
    upstreamConcurrency: null,
    upstreamSubmitsPerMinute: null,
    imageVerifiedAfter: 0,
    ...over,
  })

const claimImages = (store: Store, now: number, limit: number, over: Partial<ImageClaim> = {}) =>
  store.claimImageChecks({ ...claim(now, limit), imageVerifiedAfter: 0, readyTarget: limit, ...over })

let apps = 0
const addApp = async (store: Store, limits: Partial<AppLimits> = {}): Promise<AppId> =>
  (await store.createApp(`fair ${apps++}`, T, { limits }))!.id

/** Verifies the images of the jobs. */
const verifyImages = (store: Store, ids: readonly string[], at: number) =>
  Promise.all(ids.map(id => store.change(id, imageVerified(at), at)))

/** Queues `count` jobs from `at` on, `stepMs` apart. The images of the first `readyCount` are verified. */
async function queue(store: Store, app: AppId, count: number, at: number, stepMs = 1, readyCount = count) {
  const jobs = await Promise.all(times(count, i => addPrediction(store, app, at + i * stepMs)))
  await verifyImages(store, idsOf(jobs.slice(0, readyCount)), at)
  return idsOf(jobs)
}

/** Claims and accepts up to `max` jobs, one after the other. */
async function submitNext(store: Store, at: number, max = 1): Promise<Job[]> {
  const sent: Job[] = []
  while (sent.length < max) {
    const [job] = await claimSubmits(store, at, 1)
    if (job === undefined) break
    await accept(store, job)
    sent.push(job)
  }
  return sent
}

/** Makes the app's jobs hold `count` slots. No other app may have a job that waits. */
async function occupySlots(store: Store, app: AppId, count: number, at: number): Promise<void> {
  await queue(store, app, count, at)
  expect(await submitNext(store, at + count, count)).toHaveLength(count)
}

const accept = (store: Store, { id, submitStartedAt }: Job) =>
  store.change(
    id,
    submitAnswered({ kind: 'accepted', upstreamId: `up-${id}` }, submitStartedAt!, submitStartedAt!),
    submitStartedAt!,
  )

const finish = (store: Store, { id }: Job, at: number) =>
  store.change(id, pollSucceededAt(COMPLETED, at, at), at)

/** Runs the next `count` jobs, of equal duration, on `slots`. All have ended then. */
async function runJobs(store: Store, slots: number, count: number, from: number, ms = MINUTE) {
  const all: Job[] = []
  for (let at = from; all.length < count; at += ms) {
    const running = await submitNext(store, at, slots)
    if (running.length === 0) break
    for (const job of running) await finish(store, job, at + ms)
    all.push(...running)
  }
  return all.map(({ appId }) => appId)
}

const share = (owners: readonly AppId[], app: AppId) =>
  owners.filter(one => one === app).length / owners.length

const submitOne = async (store: Store, at: number) => (await submitNext(store, at))[0]!

describe.each(ENGINES)('%s', (_, { open, createDatabase }) => {
  describe('the next slot', () => {
    test('goes to the app with the fewest in flight', async () => {
      await using f = await fixture(open)
      const [a, b, c] = [await addApp(f.store), await addApp(f.store), await addApp(f.store)]
      await occupySlots(f.store, a, 2, T - HOUR)
      await occupySlots(f.store, b, 1, T - HOUR)
      for (const [i, app] of [a, b, c].entries()) await queue(f.store, app, 5, T + i, 10)
      const next = (await submitNext(f.store, T + HOUR, 5)).map(({ appId }) => appId)
      expect(next.slice(0, 1)).toEqual([c])
      expect(next.slice(1, 3).toSorted()).toEqual([b, c].toSorted())
      expect(next.slice(3).toSorted()).not.toEqual([a, a])
    })

    test('goes to the app with the fewest in flight for its weight', async () => {
      await using f = await fixture(open)
      const [light, heavy] = [await addApp(f.store), await addApp(f.store, { weight: 3 })]
      await occupySlots(f.store, light, 1, T - HOUR)
      await occupySlots(f.store, heavy, 2, T - HOUR)
      await queue(f.store, light, 1, T)
      await queue(f.store, heavy, 1, T + 1)
      expect((await submitOne(f.store, T + HOUR)).appId).toBe(heavy)
    })

    test('goes to the oldest job of an app, and among equal apps to the older backlog', async () => {
      await using f = await fixture(open)
      const [a, b] = [await addApp(f.store), await addApp(f.store)]
      const older = await addPrediction(f.store, b, T)
      const late = await addPrediction(f.store, a, T + 2)
      const early = await addPrediction(f.store, a, T + 1)
      await verifyImages(f.store, idsOf([older, late, early]), T + SECOND)
      expect(idsOf(await submitNext(f.store, T + SECOND, 3))).toEqual(idsOf([older, early, late]))
    })

    test('goes by virtual time if the counts are equal, and not by age', async () => {
      await using f = await fixture(open)
      const [yesterday, today] = [await addApp(f.store), await addApp(f.store)]
      await queue(f.store, yesterday, 100, T - 24 * HOUR)
      expect(await runJobs(f.store, 1, 10, T - HOUR)).toEqual(times(10, () => yesterday))
      const running = await submitOne(f.store, T)
      await queue(f.store, today, 10, T)
      await finish(f.store, running, T + MINUTE)
      const begun = await runJobs(f.store, 1, 6, T + MINUTE)
      expect(begun[0]).toBe(today)
      expect(share(begun, today)).toBe(0.5)
    })

    test.each([1, 2, 3, 5])(
      'comes to a single job beside 10,000 of another app after no more jobs than there are slots: %i',
      async slots => {
        await using f = await fixture(open)
        const [many, single] = [await addApp(f.store), await addApp(f.store)]
        // The first 100 are ready: no more are needed.
        await queue(f.store, many, 10_000, T - HOUR, 1, 100)
        const running = await submitNext(f.store, T, slots)
        for (let at = T + HOUR; at < T + 5 * HOUR; at += HOUR) {
          const { id } = await addPrediction(f.store, single, at)
          await verifyImages(f.store, [id], at)
          let ended = 0
          do {
            await finish(f.store, running.shift()!, at + ended * MINUTE)
            running.push(await submitOne(f.store, at + ended * MINUTE))
            ended++
          } while (running.at(-1)!.id !== id && ended <= slots)
          expect(ended).toBeLessThanOrEqual(slots)
          await finish(f.store, running.pop()!, at + 10 * MINUTE)
          running.push(await submitOne(f.store, at + 10 * MINUTE))
        }
      },
      30_000,
    )

    test('never goes to an app at its own limit; none of its jobs is refused', async () => {
      await using f = await fixture(open)
      const [limited, other] = [await addApp(f.store, { maxInFlight: 2 }), await addApp(f.store)]
      await queue(f.store, limited, 5, T)
      await queue(f.store, other, 5, T + HOUR)
      const begun = await submitNext(f.store, T + 2 * HOUR, 100)
      expect(begun.filter(({ appId }) => appId === limited)).toHaveLength(2)
      expect(begun).toHaveLength(7)
      expect(await submitNext(f.store, T + 2 * HOUR, 100)).toEqual([])
      expect(await f.store.countByState()).toMatchObject({ queued: 3, inFlight: 7 })
      await finish(f.store, begun.find(({ appId }) => appId === limited)!, T + 3 * HOUR)
      expect(await submitNext(f.store, T + 3 * HOUR, 100)).toHaveLength(1)
    })

    test('goes by the present weights and limits', async () => {
      await using f = await fixture(open)
      const [a, b] = [await addApp(f.store), await addApp(f.store)]
      for (const app of [a, b]) await queue(f.store, app, 400, T - HOUR)
      expect(share(await runJobs(f.store, 4, 80, T), a)).toBeCloseTo(1 / 2, 1)
      await f.store.setLimits(a, { weight: 3 })
      expect(share(await runJobs(f.store, 4, 160, T + 3 * HOUR), a)).toBeCloseTo(3 / 4, 1)
      await f.store.setLimits(a, { maxInFlight: 1 })
      expect(share(await runJobs(f.store, 4, 80, T + 6 * HOUR), a)).toBe(1 / 4)
      await f.store.setLimits(a, { maxInFlight: 0 })
      expect(share(await runJobs(f.store, 4, 40, T + 9 * HOUR), a)).toBe(0)
    })

    test('follows the weights where slots are fewer than the weights', async () => {
      await using f = await fixture(open)
      const apps: AppId[] = []
      for (const weight of [1, 2, 3]) {
        const app = await addApp(f.store, { weight })
        await queue(f.store, app, 400, T - HOUR)
        apps.push(app)
      }
      const begun = await runJobs(f.store, 3, 360, T)
      for (const [i, app] of apps.entries()) expect(share(begun, app)).toBeCloseTo((i + 1) / 6, 1.5)
    })

    test('is shared by time, not by jobs: an app with longer jobs gets fewer', async () => {
      await using f = await fixture(open)
      const [long, short] = [await addApp(f.store), await addApp(f.store)]
      for (const app of [long, short]) await queue(f.store, app, 400, T - HOUR)
      let running = null as { job: Job; until: number } | null
      const had = new Map([long, short].map(app => [app, 0]))
      for (let at = T; at < T + 10 * HOUR; at = running!.until) {
        if (running !== null) await finish(f.store, running.job, at)
        const job = await submitOne(f.store, at)
        const ms = job.appId === long ? 10 * MINUTE : MINUTE
        had.set(job.appId, had.get(job.appId)! + ms)
        running = { job, until: at + ms }
      }
      expect(had.get(long)! / had.get(short)!).toBeCloseTo(1, 1)
    })

    test('follows the same order after the store was closed and opened again', async () => {
      await using f = await sharedFixture(createDatabase)
      const first = await f.open()
      const apps: AppId[] = []
      for (const weight of [1, 2]) {
        const app = await addApp(first, { weight })
        await queue(first, app, 60, T - HOUR)
        apps.push(app)
      }
      await first.close()
      const all: AppId[] = []
      for (let i = 0; i < 30; i++) {
        const store = await f.open()
        all.push(...(await runJobs(store, 1, 2, T + i * HOUR)))
        await store.close()
      }
      expect(share(all, apps[0]!)).toBeCloseTo(1 / 3, 1)
    })

    test('is given once by two stores on one database, which share one order', async () => {
      await using f = await sharedFixture(createDatabase)
      const [store, other] = [await f.open(), await f.open()]
      const apps = [
        await addApp(store),
        await addApp(store, { weight: 2 }),
        await addApp(store, { maxInFlight: 1 }),
      ]
      for (const [i, app] of apps.entries()) await queue(store, app, 20, T + 7 * i, 3)
      const queuePositions: [string, number][] = []
      for (const app of apps) {
        const { predictions } = await store.list(fullScope(app), pageRequest({ backward: true }))
        for (const { id } of predictions)
          queuePositions.push([id, (await store.queuePositions(app, [id]))[0]!])
      }
      // Jobs over their app's limit are never claimed.
      queuePositions.splice(-20, 19)
      const order = queuePositions.toSorted(([, a], [, b]) => a - b).map(([id]) => id)
      const begun: string[] = []
      for (;;) {
        const claims = await Promise.all(
          [store, other].map(one => claimSubmits(one, T + HOUR, 1, { upstreamConcurrency: 21 })),
        )
        if (claims.flat().length === 0) break
        begun.push(...claims.flatMap(idsOf))
      }
      expect(begun).toEqual(order.slice(0, 21))
    })
  })

  describe('fairness over time', () => {
    test('an app with one job is next, whatever the weight and the backlog of another', async () => {
      await using f = await fixture(open)
      const heavy = await addApp(f.store, { weight: 1000 })
      await queue(f.store, heavy, 300, T - HOUR)
      await runJobs(f.store, 1, 60, T)
      const light = await addApp(f.store)
      const [single] = await queue(f.store, light, 1, T + 2 * HOUR)
      expect(await f.store.queuePositions(light, [single!])).toEqual([1])
      expect(idsOf(await claimSubmits(f.store, T + 3 * HOUR, 1))).toEqual([single])
    })

    test('an app whose queue runs empty keeps its debt, and is not first again', async () => {
      await using f = await fixture(open)
      const [busy, quick] = [await addApp(f.store), await addApp(f.store)]
      await queue(f.store, busy, 300, T - HOUR)
      const shares: number[] = []
      for (let i = 0; i < 40; i++) {
        const at = T + i * MINUTE
        if ((await f.store.usage(fullScope(quick), at)).queued === 0) await queue(f.store, quick, 1, at)
        shares.push(share(await runJobs(f.store, 1, 1, at), quick))
      }
      expect(shares.reduce((sum, one) => sum + one, 0) / shares.length).toBeCloseTo(1 / 2, 1)
    })

    test('a job that was refused three times lets others go first, but only for an hour', async () => {
      await using f = await fixture(open)
      const [troubled, busy] = [await addApp(f.store), await addApp(f.store)]
      const [refused] = await queue(f.store, troubled, 1, T)
      for (let n = 0; n < 3; n++) {
        await claimSubmits(f.store, T, 1)
        await f.store.change(refused!, submitAnswered({ kind: 'unsent' }, T, T), T)
        await f.store.halfOpenCircuit((await f.store.submitCircuit())!.version)
      }
      await queue(f.store, busy, 20, T)
      // The half-open circuit lets one submit pass, and closes when upstream accepts that.
      expect((await submitOne(f.store, T + MINUTE)).appId).toBe(busy)
      expect(await f.store.submitCircuit()).toBeNull()
      expect(idsOf(await claimSubmits(f.store, T + 30 * MINUTE, 5))).not.toContain(refused)
      expect(idsOf(await claimSubmits(f.store, T + HOUR + MINUTE, 5))).toContain(refused)
    })

    test('an app that is new or comes back gets no credit for its absence', async () => {
      await using f = await fixture(open)
      const [busy, idle] = [await addApp(f.store), await addApp(f.store)]
      await queue(f.store, busy, 200, T - HOUR)
      await runJobs(f.store, 1, 60, T)
      await queue(f.store, idle, 40, T + 2 * HOUR)
      expect(share(await runJobs(f.store, 1, 20, T + 3 * HOUR), idle)).toBeCloseTo(1 / 2, 1)
    })

    test('an app has no debt for slots it used while no other app waited', async () => {
      await using f = await fixture(open)
      const [busy, late] = [await addApp(f.store), await addApp(f.store)]
      await queue(f.store, busy, 60, T - HOUR)
      await runJobs(f.store, 1, 60, T)
      await queue(f.store, late, 40, T + 2 * HOUR)
      await queue(f.store, busy, 40, T + 2 * HOUR + 100)
      expect(share(await runJobs(f.store, 1, 20, T + 3 * HOUR), busy)).toBeCloseTo(1 / 2, 1)
    })

    test('an app whose jobs could not be sent gets slots back, but no more than the maximum credit', async () => {
      await using f = await fixture(open)
      const [busy, stuck] = [await addApp(f.store), await addApp(f.store)]
      await queue(f.store, busy, 200, T - HOUR)
      const waiting = await queue(f.store, stuck, 100, T - HOUR, 1, 0)
      await runJobs(f.store, 1, 60, T)
      await verifyImages(f.store, waiting, T + 2 * HOUR)
      // Both are the maximum from the mean of the two. Then the slots are shared evenly.
      const catchUpJobs = (2 * MAX_CREDIT_MS) / MINUTE
      expect(share(await runJobs(f.store, 1, catchUpJobs, T + 2 * HOUR), stuck)).toBeGreaterThan(0.9)
      expect(share(await runJobs(f.store, 1, 20, T + 3 * HOUR), stuck)).toBeCloseTo(1 / 2, 1)
    })

    test('an app held back by its own limit gets no credit', async () => {
      await using f = await fixture(open)
      const [busy, limited] = [await addApp(f.store), await addApp(f.store, { maxInFlight: 0 })]
      for (const app of [busy, limited]) await queue(f.store, app, 100, T - HOUR)
      expect(share(await runJobs(f.store, 1, 60, T), busy)).toBe(1)
      await f.store.setLimits(limited, { maxInFlight: null })
      expect(share(await runJobs(f.store, 1, 20, T + 2 * HOUR), limited)).toBeCloseTo(1 / 2, 1)
    })

    test('a job that a wrong clock ended before its start gives its app no credit', async () => {
      await using f = await fixture(open)
      const apps = [await addApp(f.store), await addApp(f.store)]
      for (const app of apps) await queue(f.store, app, 100, T - HOUR)
      const job = await submitOne(f.store, T)
      await finish(f.store, job, T - HOUR)
      expect(share(await runJobs(f.store, 1, 20, T + HOUR), job.appId)).toBeCloseTo(1 / 2, 1)
    })
  })

  describe('image checks', () => {
    test('a backlog of 10,000 delays no other app’s image check', async () => {
      await using f = await fixture(open)
      const [many, single] = [await addApp(f.store), await addApp(f.store)]
      await queue(f.store, many, 10_000, T - HOUR, 1, 0)
      for (const { id, fence } of await claimImages(f.store, T, 5))
        await f.store.change(id, imageVerified(T), T, fence)
      expect(await claimImages(f.store, T, 5)).toEqual([])
      const { id } = await addPrediction(f.store, single, T)
      expect(idsOf(await claimImages(f.store, T, 5))).toEqual([id])
    })

    test('images of the jobs that are sent first are checked first', async () => {
      await using f = await fixture(open)
      const [a, b] = [await addApp(f.store), await addApp(f.store, { weight: 2 })]
      const limited = await addApp(f.store, { maxInFlight: 0 })
      await occupySlots(f.store, a, 2, T - HOUR)
      for (const [i, app] of [limited, a, b].entries()) await queue(f.store, app, 9, T + i, 10, 0)
      const claimed = await claimImages(f.store, T + HOUR, 9, { readyTarget: 6 })
      expect(claimed.filter(({ appId }) => appId === limited)).toEqual([])
      for (const { id, fence } of claimed) await f.store.change(id, imageVerified(T + HOUR), T + HOUR, fence)
      expect(idsOf(await claimSubmits(f.store, T + HOUR, 6)).toSorted()).toEqual(idsOf(claimed).toSorted())
    })

    test('an app whose hosts hang leaves image checks to the others, and its own first checks come first', async () => {
      await using f = await fixture(open)
      const [hangs, other] = [await addApp(f.store), await addApp(f.store)]
      for (const id of await queue(f.store, hangs, 9, T, 1, 0))
        await f.store.change(id, imageCheckFailed(T, T), T)
      await queue(f.store, hangs, 2, T + 100, 1, 0)
      await queue(f.store, other, 3, T + 200, 1, 0)
      const except = await claimImages(f.store, T + HOUR, 2, {
        readyTarget: 9,
        thisProcess: { busyApps: [hangs] },
      })
      expect(except.map(({ appId }) => appId)).toEqual([other, other])
      const next = await claimImages(f.store, T + HOUR, 3, { readyTarget: 9 })
      expect(next.map(({ imageCheckFailures }) => imageCheckFailures)).toEqual([0, 0, 0])
      expect(await claimImages(f.store, T + HOUR, 20, { readyTarget: 20 })).toHaveLength(9)
    })
  })

  test('a queue position is the rank in the order in which jobs are claimed, one by one or many at once', async () => {
    const app = fc.record({
      weight: fc.integer({ min: 1, max: 5 }),
      maxInFlight: fc.option(fc.integer({ min: 0, max: 6 }), { freq: 2 }),
      /** Durations of its earlier jobs, ms. */
      ended: fc.array(fc.oneof(fc.constantFrom(0, MINUTE, HOUR), fc.nat(10 * MINUTE)), { maxLength: 3 }),
      running: fc.integer({ min: 0, max: 4 }),
      waitingSince: fc.array(fc.nat(20), { maxLength: 8 }),
    })
    await fc.assert(
      fc.asyncProperty(fc.array(app, { minLength: 1, maxLength: 5 }), fc.nat(20), async (drawn, many) => {
        await using f = await fixture(open)
        const { store } = f
        const apps: AppId[] = []
        for (const { weight, ended } of drawn) {
          const id = await addApp(store, { weight })
          await queue(store, id, ended.length, T - 9 * HOUR)
          apps.push(id)
        }
        const durations = new Map(apps.map((id, i) => [id, [...drawn[i]!.ended]]))
        const endedJobs = await submitNext(store, T - 8 * HOUR, 100)
        for (const job of endedJobs) await finish(store, job, T - 8 * HOUR + durations.get(job.appId)!.pop()!)
        for (const [i, { running }] of drawn.entries()) await occupySlots(store, apps[i]!, running, T - HOUR)
        for (const [i, { waitingSince, maxInFlight }] of drawn.entries()) {
          for (const ms of waitingSince) await queue(store, apps[i]!, 1, T + ms)
          await store.setLimits(apps[i]!, { maxInFlight })
        }
        const at = T + HOUR
        const positions = new Map<string, number>()
        for (const [i, appId] of apps.entries()) {
          const ids = idsOf((await store.list(fullScope(appId), pageRequest())).predictions)
          const { maxInFlight, running } = drawn[i]!
          const positionsOf = (await store.queuePositions(appId, ids))
            .flatMap((position, i) => (position === null ? [] : [[ids[i]!, position] as const]))
            .toSorted(([, a], [, b]) => a - b)
          // Jobs over their app's limit have positions outside the order.
          const free = maxInFlight === null ? positionsOf.length : Math.max(0, maxInFlight - running)
          for (const [id, position] of positionsOf.slice(0, free)) positions.set(id, position)
        }
        expect([...positions.values()].toSorted((a, b) => a - b)).toEqual(times(positions.size, i => i + 1))
        const positionsOfJobs = (jobs: Job[]) =>
          jobs.map(({ id }) => positions.get(id)!).toSorted((a, b) => a - b)
        const first = await claimSubmits(store, at, many)
        expect(positionsOfJobs(first)).toEqual(times(first.length, i => i + 1))
        const rest: Job[] = []
        for (;;) {
          const [next] = await claimSubmits(store, at, 1)
          if (next === undefined) break
          rest.push(next)
        }
        expect(rest.map(({ id }) => positions.get(id)!)).toEqual(
          times(rest.length, i => first.length + i + 1),
        )
      }),
      { numRuns: 60 },
    )
  }, 60_000)
})
