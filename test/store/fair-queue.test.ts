import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { wholeOf } from '../../src/domain/access-scope.ts'
import { LONGEST_JOB_MS, MOST_OWED_MS, SWING_MS } from '../../src/domain/fair-queue.ts'
import type { AppId, Job } from '../../src/domain/prediction.ts'
import { answered, imageSeen } from '../../src/domain/transitions.ts'
import { claimImages, claimSubmits, inFlight, type Rows, shared, times, waiting } from '../support/fair.ts'
import { add, addMany, COMPLETED, HOUR, idsOf, MINUTE, SECOND, seen, T } from '../support/store.ts'

/** Claimed one after the other, and accepted at once. */
async function send(store: Rows, at: number, most = 1): Promise<Job[]> {
  const sent: Job[] = []
  while (sent.length < most) {
    const [job] = await claimSubmits(store, at, 1)
    if (job === undefined) break
    await accept(store, job)
    sent.push(job)
  }
  return sent
}

const accept = (store: Rows, { id, begunAt }: Job) =>
  store.change(id, answered({ kind: 'accepted', upstreamId: `up-${id}` }, begunAt!, begunAt!), begunAt!)

const finish = (store: Rows, { id }: Job, at: number) => store.change(id, seen(COMPLETED, at, at), at)

/** With `places`, and jobs that all take as long: whose the next `count` are. All have ended then. */
async function sent(store: Rows, places: number, count: number, from: number, ms = MINUTE) {
  const all: Job[] = []
  for (let at = from; all.length < count; at += ms) {
    const running = await send(store, at, places)
    if (running.length === 0) break
    for (const job of running) await finish(store, job, at + ms)
    all.push(...running)
  }
  return all.map(({ appId }) => appId)
}

const see = async (store: Rows, ids: readonly string[], at: number) => {
  for (const id of ids) await store.change(id, imageSeen(at), at)
}

const share = (begun: readonly AppId[], app: AppId) => begun.filter(one => one === app).length / begun.length

const one = async (store: Rows, at: number) => (await send(store, at))[0]!

describe('the next place', () => {
  test('goes to the app with the fewest in flight', async () => {
    using f = shared()
    const [a, b, c] = [f.app(), f.app(), f.app()]
    f.add([inFlight(a, T), inFlight(a, T), inFlight(b, T)])
    f.add([a, b, c].flatMap((app, i) => times(5, j => waiting(app, T + i + 10 * j))))
    const next = (await send(f.store, T + HOUR, 5)).map(({ appId }) => appId)
    expect(next.slice(0, 1)).toEqual([c])
    expect(next.slice(1, 3).toSorted()).toEqual([b, c].toSorted())
    expect(next.slice(3).toSorted()).not.toEqual([a, a])
  })

  test('goes to the app with the fewest in flight for its weight', async () => {
    using f = shared()
    const [light, heavy] = [f.app(), f.app({ weight: 3 })]
    f.add([inFlight(light, T), inFlight(heavy, T), inFlight(heavy, T)])
    f.add([waiting(light, T), waiting(heavy, T + 1)])
    expect((await one(f.store, T + HOUR)).appId).toBe(heavy)
  })

  test('is the oldest’s within an app, and of two that wait alike it is the older queue’s', async () => {
    using f = shared()
    const [a, b] = [f.app(), f.app()]
    const older = await add(f.store, b, T)
    const late = await add(f.store, a, T + 2)
    const early = await add(f.store, a, T + 1)
    await see(f.store, idsOf([older, late, early]), T + SECOND)
    expect(idsOf(await send(f.store, T + SECOND, 3))).toEqual(idsOf([older, early, late]))
  })

  test('is given by history where counts are the same, and not by age', async () => {
    using f = shared()
    const [yesterday, today] = [f.app(), f.app()]
    f.add(times(100, i => waiting(yesterday, T - 24 * HOUR + i)))
    expect(await sent(f.store, 1, 10, T - HOUR)).toEqual(times(10, () => yesterday))
    const running = await one(f.store, T)
    await see(f.store, await addMany(f.store, today, 10, T), T + SECOND)
    await finish(f.store, running, T + MINUTE)
    const begun = await sent(f.store, 1, 6, T + MINUTE)
    expect(begun[0]).toBe(today)
    expect(share(begun, today)).toBe(0.5)
  })

  test.each([1, 2, 3, 5])(
    'comes to a single job beside 10,000 of another app after no more jobs than there are places: %i',
    async places => {
      using f = shared()
      const [many, single] = [f.app(), f.app()]
      // As many as can be needed are ready.
      f.add(times(10_000, i => waiting(many, T - HOUR + i, i < 100 ? {} : { imageSeenAt: null })))
      const running = await send(f.store, T, places)
      for (let at = T + HOUR; at < T + 5 * HOUR; at += HOUR) {
        const { id } = await add(f.store, single, at)
        await see(f.store, [id], at)
        let ended = 0
        do {
          await finish(f.store, running.shift()!, at + ended * MINUTE)
          running.push(await one(f.store, at + ended * MINUTE))
          ended++
        } while (running.at(-1)!.id !== id && ended <= places)
        expect(ended).toBeLessThanOrEqual(places)
        await finish(f.store, running.pop()!, at + 10 * MINUTE)
        running.push(await one(f.store, at + 10 * MINUTE))
      }
    },
    30_000,
  )

  test('is never given to an app that has as many as its own limit allows; nothing of it is refused', async () => {
    using f = shared()
    const [limited, other] = [f.app({ maxInFlight: 2 }), f.app()]
    f.add([...times(5, i => waiting(limited, T + i)), ...times(5, i => waiting(other, T + HOUR + i))])
    const begun = await send(f.store, T + 2 * HOUR, 100)
    expect(begun.filter(({ appId }) => appId === limited)).toHaveLength(2)
    expect(begun).toHaveLength(7)
    expect(await send(f.store, T + 2 * HOUR, 100)).toEqual([])
    expect(await f.store.tally()).toMatchObject({ waiting: 3, inFlight: 7 })
    await finish(f.store, begun.find(({ appId }) => appId === limited)!, T + 3 * HOUR)
    expect(await send(f.store, T + 3 * HOUR, 100)).toHaveLength(1)
  })

  test('is given by the weights and limits as they are now', async () => {
    using f = shared()
    const [a, b] = [f.app(), f.app()]
    f.add([a, b].flatMap(app => times(400, i => waiting(app, T - HOUR + i))))
    expect(share(await sent(f.store, 4, 80, T), a)).toBeCloseTo(1 / 2, 1)
    f.set(a, { weight: 3 })
    expect(share(await sent(f.store, 4, 160, T + 3 * HOUR), a)).toBeCloseTo(3 / 4, 1)
    f.set(a, { maxInFlight: 1 })
    expect(share(await sent(f.store, 4, 80, T + 6 * HOUR), a)).toBe(1 / 4)
    f.set(a, { maxInFlight: 0 })
    expect(share(await sent(f.store, 4, 40, T + 9 * HOUR), a)).toBe(0)
  })

  test('follows the weights where places are fewer than they', async () => {
    using f = shared()
    const apps = [1, 2, 3].map(weight => f.app({ weight }))
    f.add(apps.flatMap(app => times(400, i => waiting(app, T - HOUR + i))))
    const begun = await sent(f.store, 3, 360, T)
    for (const [i, app] of apps.entries()) expect(share(begun, app)).toBeCloseTo((i + 1) / 6, 1.5)
  })

  test('is shared by time, not by jobs: who has longer ones gets fewer', async () => {
    using f = shared()
    const [long, short] = [f.app(), f.app()]
    f.add([long, short].flatMap(app => times(400, i => waiting(app, T - HOUR + i))))
    let running = null as { job: Job; until: number } | null
    const had = new Map([long, short].map(app => [app, 0]))
    for (let at = T; at < T + 10 * HOUR; at = running!.until) {
      if (running !== null) await finish(f.store, running.job, at)
      const job = await one(f.store, at)
      const ms = job.appId === long ? 10 * MINUTE : MINUTE
      had.set(job.appId, had.get(job.appId)! + ms)
      running = { job, until: at + ms }
    }
    expect(had.get(long)! / had.get(short)!).toBeCloseTo(1, 1)
  })

  test('goes on as it did after the file was closed and opened again', async () => {
    await using folder = await mkdtempDisposable(join(tmpdir(), 'rushes-fair-'))
    const file = join(folder.path, 'rushes.db')
    const apps = [1, 2].map(weight => {
      using f = shared(file)
      const app = f.app({ weight, name: `weight ${weight}` })
      f.add(times(60, i => waiting(app, T - HOUR + i)))
      return app
    })
    const all: AppId[] = []
    for (let i = 0; i < 30; i++) {
      using f = shared(file)
      all.push(...(await sent(f.store, 1, 2, T + i * HOUR)))
    }
    expect(share(all, apps[0]!)).toBeCloseTo(1 / 3, 1)
  })

  test('is given once by two stores on one file, which follow one order together', async () => {
    await using folder = await mkdtempDisposable(join(tmpdir(), 'rushes-fair-'))
    const file = join(folder.path, 'rushes.db')
    using f = shared(file)
    using other = shared(file)
    const apps = [f.app(), f.app({ weight: 2 }), f.app({ maxInFlight: 1 })]
    f.add(apps.flatMap((app, i) => times(20, j => waiting(app, T + 7 * i + 3 * j))))
    const places: [string, number][] = []
    for (const app of apps)
      for (const { id } of (
        await f.store.list(wholeOf(app), { limit: 50, backward: true, after: null, before: null, filter: {} })
      ).predictions)
        places.push([id, (await f.store.queuePositions(app, [id]))[0]!])
    // What its own limit holds back is never claimed.
    places.splice(-20, 19)
    const order = places.toSorted(([, a], [, b]) => a - b).map(([id]) => id)
    const begun: string[] = []
    for (;;) {
      const claims = await Promise.all(
        [f.store, other.store].map(store => claimSubmits(store, T + HOUR, 1, { concurrency: 21 })),
      )
      if (claims.flat().length === 0) break
      begun.push(...claims.flatMap(idsOf))
    }
    expect(begun).toEqual(order.slice(0, 21))
  })
})

describe('turns', () => {
  test('whoever asks for one job is next, whatever the weight and the backlog of another', async () => {
    using f = shared()
    const heavy = f.app({ weight: 1000 })
    f.add(times(300, i => waiting(heavy, T - HOUR + i)))
    await sent(f.store, 1, 60, T)
    const light = f.app()
    const [single] = await addMany(f.store, light, 1, T + 2 * HOUR)
    await see(f.store, [single!], T + 2 * HOUR)
    expect(await f.store.queuePositions(light, [single!])).toEqual([1])
    expect(idsOf(await claimSubmits(f.store, T + 3 * HOUR, 1))).toEqual([single])
  })

  test('who lets its queue run empty keeps what it owes, and is not first again', async () => {
    using f = shared()
    const [busy, quick] = [f.app(), f.app()]
    f.add(times(300, i => waiting(busy, T - HOUR + i)))
    const shares: number[] = []
    for (let i = 0; i < 40; i++) {
      const at = T + i * MINUTE
      if (f.waits(quick) === 0) await see(f.store, await addMany(f.store, quick, 1, at), at)
      shares.push(share(await sent(f.store, 1, 1, at), quick))
    }
    expect(shares.reduce((sum, one) => sum + one, 0) / shares.length).toBeCloseTo(1 / 2, 1)
  })

  test('a job that was refused three times lets others go first, and after an hour no more', async () => {
    using f = shared()
    const [troubled, busy] = [f.app(), f.app()]
    const [job] = [waiting(troubled, T, { attempts: 3 })]
    f.add([job!, ...times(20, i => waiting(busy, T + i))])
    expect(idsOf(await claimSubmits(f.store, T + 30 * MINUTE, 5))).not.toContain(job!.id)
    expect(idsOf(await claimSubmits(f.store, T + HOUR + MINUTE, 5))).toContain(job!.id)
  })

  test('an app that has come or come back is owed nothing for the time it was away', async () => {
    using f = shared()
    const [busy, idle] = [f.app(), f.app()]
    f.add(times(200, i => waiting(busy, T - HOUR + i)))
    await sent(f.store, 1, 60, T)
    const back = await addMany(f.store, idle, 40, T + 2 * HOUR)
    await see(f.store, back, T + 2 * HOUR)
    expect(share(await sent(f.store, 1, 20, T + 3 * HOUR), idle)).toBeCloseTo(1 / 2, 1)
  })

  test('an app owes nothing for what it had while nobody else waited', async () => {
    using f = shared()
    const [busy, late] = [f.app(), f.app()]
    f.add(times(60, i => waiting(busy, T - HOUR + i)))
    await sent(f.store, 1, 60, T)
    await see(f.store, await addMany(f.store, late, 40, T + 2 * HOUR), T + 2 * HOUR)
    await see(f.store, await addMany(f.store, busy, 40, T + 2 * HOUR + 100), T + 2 * HOUR)
    expect(share(await sent(f.store, 1, 20, T + 3 * HOUR), busy)).toBeCloseTo(1 / 2, 1)
  })

  test('nobody is owed more than the most, and who is held back by a limit of its own nothing', async () => {
    using f = shared()
    const [busy, stuck, held] = [f.app(), f.app(), f.app({ maxInFlight: 0 })]
    f.add([
      ...times(200, i => waiting(busy, T - HOUR + i)),
      waiting(stuck, T, { imageSeenAt: null }),
      waiting(held, T),
    ])
    await sent(f.store, 1, 60, T)
    const [most, turn] = [f.turnOf(busy), f.turnOf(stuck)]
    expect(most).toBe(60 * MINUTE)
    expect(turn).toBeGreaterThan(most - 2.5 * MOST_OWED_MS)
    expect(f.turnOf(held)).toBeGreaterThan(turn)
  })

  test('a place is paid for when it is given back, and never by a wrong clock', async () => {
    using f = shared()
    const app = f.app({ weight: 2 })
    f.add(times(4, i => waiting(app, T + i)))
    const [first, second, third] = await claimSubmits(f.store, T + SECOND, 3)
    expect(f.turnOf(app)).toBe(0)
    await f.store.change(first!.id, answered({ kind: 'unsent' }, T + 3 * SECOND, T), T + 3 * SECOND)
    expect(f.turnOf(app)).toBe(SECOND)
    await accept(f.store, second!)
    await finish(f.store, second!, T - HOUR)
    expect(f.turnOf(app)).toBe(SECOND)
    await accept(f.store, third!)
    await finish(f.store, third!, T + 1000 * HOUR)
    expect(f.turnOf(app)).toBe(SECOND + LONGEST_JOB_MS / 2)
  })
})

describe('images', () => {
  test('a backlog of 10,000 keeps nobody else’s job from being looked at', async () => {
    using f = shared()
    const [many, single] = [f.app(), f.app()]
    f.add(times(10_000, i => waiting(many, T - HOUR + i, { imageSeenAt: null })))
    for (const { id, fence } of await claimImages(f.store, T, 5))
      await f.store.change(id, imageSeen(T), T, fence)
    expect(await claimImages(f.store, T, 5)).toEqual([])
    const { id } = await add(f.store, single, T)
    expect(idsOf(await claimImages(f.store, T, 5))).toEqual([id])
  })

  test('those of the jobs that are sent first are looked at first', async () => {
    using f = shared()
    const [a, b, held] = [f.app(), f.app({ weight: 2 }), f.app({ maxInFlight: 0 })]
    f.add([inFlight(a, T), inFlight(a, T)])
    f.add(
      [held, a, b].flatMap((app, i) => times(9, j => waiting(app, T + i + 10 * j, { imageSeenAt: null }))),
    )
    const looks = await claimImages(f.store, T + HOUR, 9, { stock: 6 })
    expect(looks.filter(({ appId }) => appId === held)).toEqual([])
    for (const { id, fence } of looks) await f.store.change(id, imageSeen(T + HOUR), T + HOUR, fence)
    expect(idsOf(await claimSubmits(f.store, T + HOUR, 6)).toSorted()).toEqual(idsOf(looks).toSorted())
  })

  test('an app whose hosts hang leaves the looks to the others, and its own first looks come first', async () => {
    using f = shared()
    const [hangs, other] = [f.app(), f.app()]
    f.add([
      ...times(9, i => waiting(hangs, T + i, { imageSeenAt: null, imageTries: 1 })),
      ...times(2, i => waiting(hangs, T + 100 + i, { imageSeenAt: null })),
      ...times(3, i => waiting(other, T + 200 + i, { imageSeenAt: null })),
    ])
    const except = await claimImages(f.store, T + HOUR, 2, { stock: 9, exceptApps: [hangs] })
    expect(except.map(({ appId }) => appId)).toEqual([other, other])
    const next = await claimImages(f.store, T + HOUR, 3, { stock: 9 })
    expect(next.map(({ imageTries }) => imageTries)).toEqual([0, 0, 0])
    expect(await claimImages(f.store, T + HOUR, 20, { stock: 20 })).toHaveLength(9)
  })
})

test('a position is the place in the very order in which jobs are claimed, one by one or many at once', async () => {
  const app = fc.record({
    weight: fc.integer({ min: 1, max: 5 }),
    maxInFlight: fc.option(fc.integer({ min: 0, max: 6 }), { freq: 2 }),
    turn: fc.oneof(fc.constantFrom(0, SWING_MS / 4, SWING_MS), fc.double({ min: 0, max: 1e7, noNaN: true })),
    queuedSince: fc.constantFrom(T, T + 1),
    isNew: fc.boolean(),
    running: fc.integer({ min: 0, max: 4 }),
    rows: fc.array(fc.record({ at: fc.nat(20), tries: fc.nat(1) }), { maxLength: 8 }),
  })
  await fc.assert(
    fc.asyncProperty(fc.array(app, { minLength: 1, maxLength: 5 }), fc.nat(20), async (drawn, many) => {
      using f = shared()
      const apps = drawn.map(({ running, rows, ...fields }) => {
        const id = f.app(fields)
        f.add(times(running, () => inFlight(id, T)))
        f.add(rows.map(({ at, tries }) => waiting(id, T + at, { imageTries: tries })))
        return id
      })
      const at = T + HOUR
      const positions = new Map<string, number>()
      for (const appId of apps) {
        const page = { limit: 50, backward: false, after: null, before: null, filter: {} }
        const ids = idsOf((await f.store.list(wholeOf(appId), page)).predictions)
        const { maxInFlight, running } = drawn[apps.indexOf(appId)]!
        const told = (await f.store.queuePositions(appId, ids))
          .flatMap((position, i) => (position === null ? [] : [[ids[i]!, position] as const]))
          .toSorted(([, a], [, b]) => a - b)
        // What its own limit holds back has a place beside the order.
        const free = maxInFlight === null ? told.length : Math.max(0, maxInFlight - running)
        for (const [id, position] of told.slice(0, free)) positions.set(id, position)
      }
      expect([...positions.values()].toSorted((a, b) => a - b)).toEqual(times(positions.size, i => i + 1))
      const placed = (jobs: Job[]) => jobs.map(({ id }) => positions.get(id)!).toSorted((a, b) => a - b)
      const first = await claimSubmits(f.store, at, many)
      expect(placed(first)).toEqual(times(first.length, i => i + 1))
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
