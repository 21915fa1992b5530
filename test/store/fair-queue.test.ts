import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { fullScope } from '../../src/domain/access-scope.ts'
import { JOB_TIME_SCALE_MS, MAX_COUNTED_JOB_MS, MAX_CREDIT_MS } from '../../src/domain/fair-queue.ts'
import type { AppId, Job } from '../../src/domain/prediction.ts'
import { imageVerified, submitAnswered } from '../../src/domain/transitions.ts'
import {
  claimImages,
  claimSubmits,
  inFlightRow,
  openTestDatabase,
  queuedRow,
  type TestStore,
  times,
} from '../support/database.ts'
import {
  addPrediction,
  addPredictions,
  COMPLETED,
  HOUR,
  idsOf,
  MINUTE,
  pollSucceededAt,
  SECOND,
  T,
} from '../support/store.ts'

/** Claims and accepts up to `max` jobs, one after the other. */
async function submitNext(store: TestStore, at: number, max = 1): Promise<Job[]> {
  const sent: Job[] = []
  while (sent.length < max) {
    const [job] = await claimSubmits(store, at, 1)
    if (job === undefined) break
    await accept(store, job)
    sent.push(job)
  }
  return sent
}

const accept = (store: TestStore, { id, submitStartedAt }: Job) =>
  store.change(
    id,
    submitAnswered({ kind: 'accepted', upstreamId: `up-${id}` }, submitStartedAt!, submitStartedAt!),
    submitStartedAt!,
  )

const finish = (store: TestStore, { id }: Job, at: number) =>
  store.change(id, pollSucceededAt(COMPLETED, at, at), at)

/** Runs the next `count` jobs, of equal duration, on `slots`. All have ended then. */
async function runJobs(store: TestStore, slots: number, count: number, from: number, ms = MINUTE) {
  const all: Job[] = []
  for (let at = from; all.length < count; at += ms) {
    const running = await submitNext(store, at, slots)
    if (running.length === 0) break
    for (const job of running) await finish(store, job, at + ms)
    all.push(...running)
  }
  return all.map(({ appId }) => appId)
}

const verifyImages = async (store: TestStore, ids: readonly string[], at: number) => {
  for (const id of ids) await store.change(id, imageVerified(at), at)
}

const share = (owners: readonly AppId[], app: AppId) =>
  owners.filter(one => one === app).length / owners.length

const submitOne = async (store: TestStore, at: number) => (await submitNext(store, at))[0]!

describe('the next slot', () => {
  test('goes to the app with the fewest in flight', async () => {
    using f = openTestDatabase()
    const [a, b, c] = [f.addApp(), f.addApp(), f.addApp()]
    f.insertRows([inFlightRow(a, T), inFlightRow(a, T), inFlightRow(b, T)])
    f.insertRows([a, b, c].flatMap((app, i) => times(5, j => queuedRow(app, T + i + 10 * j))))
    const next = (await submitNext(f.store, T + HOUR, 5)).map(({ appId }) => appId)
    expect(next.slice(0, 1)).toEqual([c])
    expect(next.slice(1, 3).toSorted()).toEqual([b, c].toSorted())
    expect(next.slice(3).toSorted()).not.toEqual([a, a])
  })

  test('goes to the app with the fewest in flight for its weight', async () => {
    using f = openTestDatabase()
    const [light, heavy] = [f.addApp(), f.addApp({ weight: 3 })]
    f.insertRows([inFlightRow(light, T), inFlightRow(heavy, T), inFlightRow(heavy, T)])
    f.insertRows([queuedRow(light, T), queuedRow(heavy, T + 1)])
    expect((await submitOne(f.store, T + HOUR)).appId).toBe(heavy)
  })

  test('goes to the oldest job of an app, and among equal apps to the older backlog', async () => {
    using f = openTestDatabase()
    const [a, b] = [f.addApp(), f.addApp()]
    const older = await addPrediction(f.store, b, T)
    const late = await addPrediction(f.store, a, T + 2)
    const early = await addPrediction(f.store, a, T + 1)
    await verifyImages(f.store, idsOf([older, late, early]), T + SECOND)
    expect(idsOf(await submitNext(f.store, T + SECOND, 3))).toEqual(idsOf([older, early, late]))
  })

  test('goes by virtual time if the counts are equal, and not by age', async () => {
    using f = openTestDatabase()
    const [yesterday, today] = [f.addApp(), f.addApp()]
    f.insertRows(times(100, i => queuedRow(yesterday, T - 24 * HOUR + i)))
    expect(await runJobs(f.store, 1, 10, T - HOUR)).toEqual(times(10, () => yesterday))
    const running = await submitOne(f.store, T)
    await verifyImages(f.store, await addPredictions(f.store, today, 10, T), T + SECOND)
    await finish(f.store, running, T + MINUTE)
    const begun = await runJobs(f.store, 1, 6, T + MINUTE)
    expect(begun[0]).toBe(today)
    expect(share(begun, today)).toBe(0.5)
  })

  test.each([1, 2, 3, 5])(
    'comes to a single job beside 10,000 of another app after no more jobs than there are slots: %i',
    async slots => {
      using f = openTestDatabase()
      const [many, single] = [f.addApp(), f.addApp()]
      // The first 100 are ready: no more are needed.
      f.insertRows(
        times(10_000, i => queuedRow(many, T - HOUR + i, i < 100 ? {} : { imageVerifiedAt: null })),
      )
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
    using f = openTestDatabase()
    const [limited, other] = [f.addApp({ maxInFlight: 2 }), f.addApp()]
    f.insertRows([
      ...times(5, i => queuedRow(limited, T + i)),
      ...times(5, i => queuedRow(other, T + HOUR + i)),
    ])
    const begun = await submitNext(f.store, T + 2 * HOUR, 100)
    expect(begun.filter(({ appId }) => appId === limited)).toHaveLength(2)
    expect(begun).toHaveLength(7)
    expect(await submitNext(f.store, T + 2 * HOUR, 100)).toEqual([])
    expect(await f.store.countByState()).toMatchObject({ queued: 3, inFlight: 7 })
    await finish(f.store, begun.find(({ appId }) => appId === limited)!, T + 3 * HOUR)
    expect(await submitNext(f.store, T + 3 * HOUR, 100)).toHaveLength(1)
  })

  test('goes by the present weights and limits', async () => {
    using f = openTestDatabase()
    const [a, b] = [f.addApp(), f.addApp()]
    f.insertRows([a, b].flatMap(app => times(400, i => queuedRow(app, T - HOUR + i))))
    expect(share(await runJobs(f.store, 4, 80, T), a)).toBeCloseTo(1 / 2, 1)
    f.updateApp(a, { weight: 3 })
    expect(share(await runJobs(f.store, 4, 160, T + 3 * HOUR), a)).toBeCloseTo(3 / 4, 1)
    f.updateApp(a, { maxInFlight: 1 })
    expect(share(await runJobs(f.store, 4, 80, T + 6 * HOUR), a)).toBe(1 / 4)
    f.updateApp(a, { maxInFlight: 0 })
    expect(share(await runJobs(f.store, 4, 40, T + 9 * HOUR), a)).toBe(0)
  })

  test('follows the weights where slots are fewer than the weights', async () => {
    using f = openTestDatabase()
    const apps = [1, 2, 3].map(weight => f.addApp({ weight }))
    f.insertRows(apps.flatMap(app => times(400, i => queuedRow(app, T - HOUR + i))))
    const begun = await runJobs(f.store, 3, 360, T)
    for (const [i, app] of apps.entries()) expect(share(begun, app)).toBeCloseTo((i + 1) / 6, 1.5)
  })

  test('is shared by time, not by jobs: an app with longer jobs gets fewer', async () => {
    using f = openTestDatabase()
    const [long, short] = [f.addApp(), f.addApp()]
    f.insertRows([long, short].flatMap(app => times(400, i => queuedRow(app, T - HOUR + i))))
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

  test('follows the same order after the file was closed and opened again', async () => {
    await using folder = await mkdtempDisposable(join(tmpdir(), 'rushes-fair-'))
    const file = join(folder.path, 'rushes.db')
    const apps = [1, 2].map(weight => {
      using f = openTestDatabase(file)
      const app = f.addApp({ weight, name: `weight ${weight}` })
      f.insertRows(times(60, i => queuedRow(app, T - HOUR + i)))
      return app
    })
    const all: AppId[] = []
    for (let i = 0; i < 30; i++) {
      using f = openTestDatabase(file)
      all.push(...(await runJobs(f.store, 1, 2, T + i * HOUR)))
    }
    expect(share(all, apps[0]!)).toBeCloseTo(1 / 3, 1)
  })

  test('is given once by two stores on one file, which share one order', async () => {
    await using folder = await mkdtempDisposable(join(tmpdir(), 'rushes-fair-'))
    const file = join(folder.path, 'rushes.db')
    using f = openTestDatabase(file)
    using other = openTestDatabase(file)
    const apps = [f.addApp(), f.addApp({ weight: 2 }), f.addApp({ maxInFlight: 1 })]
    f.insertRows(apps.flatMap((app, i) => times(20, j => queuedRow(app, T + 7 * i + 3 * j))))
    const queuePositions: [string, number][] = []
    for (const app of apps)
      for (const { id } of (
        await f.store.list(fullScope(app), {
          limit: 50,
          backward: true,
          after: null,
          before: null,
          filter: {},
        })
      ).predictions)
        queuePositions.push([id, (await f.store.queuePositions(app, [id]))[0]!])
    // Jobs over their app's limit are never claimed.
    queuePositions.splice(-20, 19)
    const order = queuePositions.toSorted(([, a], [, b]) => a - b).map(([id]) => id)
    const begun: string[] = []
    for (;;) {
      const claims = await Promise.all(
        [f.store, other.store].map(store => claimSubmits(store, T + HOUR, 1, { upstreamConcurrency: 21 })),
      )
      if (claims.flat().length === 0) break
      begun.push(...claims.flatMap(idsOf))
    }
    expect(begun).toEqual(order.slice(0, 21))
  })
})

describe('fairness over time', () => {
  test('an app with one job is next, whatever the weight and the backlog of another', async () => {
    using f = openTestDatabase()
    const heavy = f.addApp({ weight: 1000 })
    f.insertRows(times(300, i => queuedRow(heavy, T - HOUR + i)))
    await runJobs(f.store, 1, 60, T)
    const light = f.addApp()
    const [single] = await addPredictions(f.store, light, 1, T + 2 * HOUR)
    await verifyImages(f.store, [single!], T + 2 * HOUR)
    expect(await f.store.queuePositions(light, [single!])).toEqual([1])
    expect(idsOf(await claimSubmits(f.store, T + 3 * HOUR, 1))).toEqual([single])
  })

  test('an app whose queue runs empty keeps its debt, and is not first again', async () => {
    using f = openTestDatabase()
    const [busy, quick] = [f.addApp(), f.addApp()]
    f.insertRows(times(300, i => queuedRow(busy, T - HOUR + i)))
    const shares: number[] = []
    for (let i = 0; i < 40; i++) {
      const at = T + i * MINUTE
      if (f.queuedCount(quick) === 0)
        await verifyImages(f.store, await addPredictions(f.store, quick, 1, at), at)
      shares.push(share(await runJobs(f.store, 1, 1, at), quick))
    }
    expect(shares.reduce((sum, one) => sum + one, 0) / shares.length).toBeCloseTo(1 / 2, 1)
  })

  test('a job that was refused three times lets others go first, but only for an hour', async () => {
    using f = openTestDatabase()
    const [troubled, busy] = [f.addApp(), f.addApp()]
    const [job] = [queuedRow(troubled, T, { submitAttempts: 3 })]
    f.insertRows([job!, ...times(20, i => queuedRow(busy, T + i))])
    expect(idsOf(await claimSubmits(f.store, T + 30 * MINUTE, 5))).not.toContain(job!.id)
    expect(idsOf(await claimSubmits(f.store, T + HOUR + MINUTE, 5))).toContain(job!.id)
  })

  test('an app that is new or comes back gets no credit for its absence', async () => {
    using f = openTestDatabase()
    const [busy, idle] = [f.addApp(), f.addApp()]
    f.insertRows(times(200, i => queuedRow(busy, T - HOUR + i)))
    await runJobs(f.store, 1, 60, T)
    const back = await addPredictions(f.store, idle, 40, T + 2 * HOUR)
    await verifyImages(f.store, back, T + 2 * HOUR)
    expect(share(await runJobs(f.store, 1, 20, T + 3 * HOUR), idle)).toBeCloseTo(1 / 2, 1)
  })

  test('an app has no debt for slots it used while no other app waited', async () => {
    using f = openTestDatabase()
    const [busy, late] = [f.addApp(), f.addApp()]
    f.insertRows(times(60, i => queuedRow(busy, T - HOUR + i)))
    await runJobs(f.store, 1, 60, T)
    await verifyImages(f.store, await addPredictions(f.store, late, 40, T + 2 * HOUR), T + 2 * HOUR)
    await verifyImages(f.store, await addPredictions(f.store, busy, 40, T + 2 * HOUR + 100), T + 2 * HOUR)
    expect(share(await runJobs(f.store, 1, 20, T + 3 * HOUR), busy)).toBeCloseTo(1 / 2, 1)
  })

  test('credit is limited to the maximum; an app held back by its own limit gets none', async () => {
    using f = openTestDatabase()
    const [busy, stuck, limited] = [f.addApp(), f.addApp(), f.addApp({ maxInFlight: 0 })]
    f.insertRows([
      ...times(200, i => queuedRow(busy, T - HOUR + i)),
      queuedRow(stuck, T, { imageVerifiedAt: null }),
      queuedRow(limited, T),
    ])
    await runJobs(f.store, 1, 60, T)
    const [busyTime, stuckTime] = [f.virtualTimeOf(busy), f.virtualTimeOf(stuck)]
    expect(busyTime).toBe(60 * MINUTE)
    expect(stuckTime).toBeGreaterThan(busyTime - 2.5 * MAX_CREDIT_MS)
    expect(f.virtualTimeOf(limited)).toBeGreaterThan(stuckTime)
  })

  test('a slot is accounted for when it is released, never by a wrong clock', async () => {
    using f = openTestDatabase()
    const app = f.addApp({ weight: 2 })
    f.insertRows(times(4, i => queuedRow(app, T + i)))
    const [first, second, third] = await claimSubmits(f.store, T + SECOND, 3)
    expect(f.virtualTimeOf(app)).toBe(0)
    await f.store.change(first!.id, submitAnswered({ kind: 'unsent' }, T + 3 * SECOND, T), T + 3 * SECOND)
    expect(f.virtualTimeOf(app)).toBe(SECOND)
    await accept(f.store, second!)
    await finish(f.store, second!, T - HOUR)
    expect(f.virtualTimeOf(app)).toBe(SECOND)
    await accept(f.store, third!)
    await finish(f.store, third!, T + 1000 * HOUR)
    expect(f.virtualTimeOf(app)).toBe(SECOND + MAX_COUNTED_JOB_MS / 2)
  })
})

describe('image checks', () => {
  test('a backlog of 10,000 delays no other app’s image check', async () => {
    using f = openTestDatabase()
    const [many, single] = [f.addApp(), f.addApp()]
    f.insertRows(times(10_000, i => queuedRow(many, T - HOUR + i, { imageVerifiedAt: null })))
    for (const { id, fence } of await claimImages(f.store, T, 5))
      await f.store.change(id, imageVerified(T), T, fence)
    expect(await claimImages(f.store, T, 5)).toEqual([])
    const { id } = await addPrediction(f.store, single, T)
    expect(idsOf(await claimImages(f.store, T, 5))).toEqual([id])
  })

  test('images of the jobs that are sent first are checked first', async () => {
    using f = openTestDatabase()
    const [a, b, limited] = [f.addApp(), f.addApp({ weight: 2 }), f.addApp({ maxInFlight: 0 })]
    f.insertRows([inFlightRow(a, T), inFlightRow(a, T)])
    f.insertRows(
      [limited, a, b].flatMap((app, i) =>
        times(9, j => queuedRow(app, T + i + 10 * j, { imageVerifiedAt: null })),
      ),
    )
    const claimed = await claimImages(f.store, T + HOUR, 9, { readyTarget: 6 })
    expect(claimed.filter(({ appId }) => appId === limited)).toEqual([])
    for (const { id, fence } of claimed) await f.store.change(id, imageVerified(T + HOUR), T + HOUR, fence)
    expect(idsOf(await claimSubmits(f.store, T + HOUR, 6)).toSorted()).toEqual(idsOf(claimed).toSorted())
  })

  test('an app whose hosts hang leaves image checks to the others, and its own first checks come first', async () => {
    using f = openTestDatabase()
    const [hangs, other] = [f.addApp(), f.addApp()]
    f.insertRows([
      ...times(9, i => queuedRow(hangs, T + i, { imageVerifiedAt: null, imageCheckFailures: 1 })),
      ...times(2, i => queuedRow(hangs, T + 100 + i, { imageVerifiedAt: null })),
      ...times(3, i => queuedRow(other, T + 200 + i, { imageVerifiedAt: null })),
    ])
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
    virtualTime: fc.oneof(
      fc.constantFrom(0, JOB_TIME_SCALE_MS / 4, JOB_TIME_SCALE_MS),
      fc.double({ min: 0, max: 1e7, noNaN: true }),
    ),
    backlogStartedAt: fc.constantFrom(T, T + 1),
    isNewlyActive: fc.boolean(),
    running: fc.integer({ min: 0, max: 4 }),
    rows: fc.array(fc.record({ at: fc.nat(20), tries: fc.nat(1) }), { maxLength: 8 }),
  })
  await fc.assert(
    fc.asyncProperty(fc.array(app, { minLength: 1, maxLength: 5 }), fc.nat(20), async (drawn, many) => {
      using f = openTestDatabase()
      const apps = drawn.map(({ running, rows, ...fields }) => {
        const id = f.addApp(fields)
        f.insertRows(times(running, () => inFlightRow(id, T)))
        f.insertRows(rows.map(({ at, tries }) => queuedRow(id, T + at, { imageCheckFailures: tries })))
        return id
      })
      const at = T + HOUR
      const positions = new Map<string, number>()
      for (const appId of apps) {
        const page = { limit: 50, backward: false, after: null, before: null, filter: {} }
        const ids = idsOf((await f.store.list(fullScope(appId), page)).predictions)
        const { maxInFlight, running } = drawn[apps.indexOf(appId)]!
        const positionsOf = (await f.store.queuePositions(appId, ids))
          .flatMap((position, i) => (position === null ? [] : [[ids[i]!, position] as const]))
          .toSorted(([, a], [, b]) => a - b)
        // Jobs over their app's limit have positions outside the order.
        const free = maxInFlight === null ? positionsOf.length : Math.max(0, maxInFlight - running)
        for (const [id, position] of positionsOf.slice(0, free)) positions.set(id, position)
      }
      expect([...positions.values()].toSorted((a, b) => a - b)).toEqual(times(positions.size, i => i + 1))
      const positionsOfJobs = (jobs: Job[]) =>
        jobs.map(({ id }) => positions.get(id)!).toSorted((a, b) => a - b)
      const first = await claimSubmits(f.store, at, many)
      expect(positionsOfJobs(first)).toEqual(times(first.length, i => i + 1))
      const rest: Job[] = []
      for (;;) {
        const [next] = await claimSubmits(f.store, at, 1)
        if (next === undefined) break
        rest.push(next)
      }
      expect(rest.map(({ id }) => positions.get(id)!)).toEqual(times(rest.length, i => first.length + i + 1))
    }),
    { numRuns: 60 },
  )
}, 60_000)
