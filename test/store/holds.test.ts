import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ALL_JOBS, type Hold, type HoldTarget, isHeldBy } from '../../src/domain/hold.ts'
import { VIDEO_MODELS } from '../../src/domain/models.ts'
import type { AppId, Prediction } from '../../src/domain/prediction.ts'
import { ENGINES } from '../support/engines.ts'
import {
  addPrediction,
  addPredictions,
  allJobs,
  claimReadySubmits,
  fixture,
  idsOf,
  MINUTE,
  newApp,
  SECOND,
  sharedFixture,
  T,
  UNKNOWN_ID,
} from '../support/store.ts'

const hold = (over: Partial<Hold> = {}): Hold => ({
  ...ALL_JOBS,
  reason: 'operator',
  why: null,
  since: T,
  ...over,
})

describe.each(ENGINES)('holds on %s', (_, engine) => {
  test('a hold of all jobs stops claims of submits and image checks, and its end starts them', async () => {
    await using f = await fixture(engine.open)
    await addPredictions(f.store, f.app, 3)
    expect(await f.store.addHold(hold({ why: 'a bill to check' }))).toBe(true)
    expect(await claimReadySubmits(f.store, T + SECOND)).toEqual([])
    expect((await allJobs(f.store)).map(job => [job.status, job.submission, job.imageVerifiedAt])).toEqual(
      Array(3).fill(['QUEUED', 'none', null]),
    )
    expect(await f.store.countByState()).toMatchObject({ queued: 3, held: 3 })
    const before = f.notifications
    expect(await f.store.removeHold(ALL_JOBS)).toBe(true)
    expect(f.notifications).toBe(before + 1)
    expect(await claimReadySubmits(f.store, T + SECOND)).toHaveLength(3)
    expect(await f.store.countByState()).toMatchObject({ queued: 0, held: 0 })
  })

  test('an image that was verified before the hold is neither submitted nor checked again', async () => {
    await using f = await fixture(engine.open)
    await addPredictions(f.store, f.app, 2)
    await claimReadySubmits(f.store, T, { limit: 0 })
    await f.store.addHold(hold())
    const later = T + 1000 * MINUTE
    expect(await claimReadySubmits(f.store, later)).toEqual([])
    const checks = { now: later, leaseUntil: later, limit: 9, imageVerifiedAfter: later, readyTarget: 9 }
    expect(await f.store.claimImageChecks(checks)).toEqual([])
  })

  test('a second hold of the same jobs changes nothing, and a missing one cannot be removed', async () => {
    await using f = await fixture(engine.open)
    const first = hold({ why: 'first' })
    expect(await f.store.removeHold(ALL_JOBS)).toBe(false)
    expect(await f.store.addHold(first)).toBe(true)
    expect(await f.store.addHold(hold({ since: T + 1, why: 'second' }))).toBe(false)
    expect(await f.store.listHolds()).toEqual([first])
  })

  test('the held jobs of one app neither wait before nor count as ready among those of another', async () => {
    await using f = await fixture(engine.open)
    const other = await newApp(f.store)
    await addPredictions(f.store, f.app, 5)
    const [id] = await addPredictions(f.store, other, 1, T + MINUTE)
    await f.store.addHold(hold({ appId: f.app }))
    const check = { now: T + MINUTE, leaseUntil: T, limit: 9, imageVerifiedAfter: 0, readyTarget: 1 }
    expect(idsOf(await f.store.claimImageChecks(check))).toEqual([id])
    expect(idsOf(await claimReadySubmits(f.store, T + 2 * MINUTE))).toEqual([id])
  })

  test('a hold of another process stops the next claim', async () => {
    await using f = await sharedFixture(engine.createDatabase)
    const gateway = await f.open()
    const command = await f.open()
    const app = await newApp(gateway)
    await addPredictions(gateway, app, 2)
    expect(await claimReadySubmits(gateway, T, { limit: 1 })).toHaveLength(1)
    await command.addHold(hold())
    expect(await claimReadySubmits(gateway, T + SECOND)).toEqual([])
  })

  test('a claim skips exactly the jobs that isHeldBy names', async () => {
    const target = fc.record({
      app: fc.constantFrom<number | null>(null, 0, 1),
      model: fc.constantFrom(null, ...VIDEO_MODELS),
      job: fc.constantFrom<number | null>(null, 0, 1, 2, 3),
    })
    await fc.assert(
      fc.asyncProperty(fc.array(target, { maxLength: 3 }), async targets => {
        await using f = await fixture(engine.open)
        const apps: AppId[] = [f.app, await newApp(f.store)]
        const jobs: Prediction[] = []
        for (const app of apps)
          for (const model of [VIDEO_MODELS[0]!, VIDEO_MODELS.at(-1)!])
            jobs.push(await addPrediction(f.store, app, T, { model }))
        const holds: HoldTarget[] = targets.map(({ app, model, job }) => ({
          appId: app === null ? null : apps[app]!,
          model,
          predictionId: job === null ? null : jobs[job]!.id,
        }))
        for (const each of holds) await f.store.addHold(hold(each))
        const free = jobs.filter(job => !holds.some(each => isHeldBy(each, job)))
        expect(await f.store.countByState()).toMatchObject({ queued: 4, held: 4 - free.length })
        expect(idsOf(await claimReadySubmits(f.store, T + SECOND)).sort()).toEqual(idsOf(free).sort())
      }),
      { numRuns: 40 },
    )
  })

  test('a hold of one prediction is not listed', async () => {
    await using f = await fixture(engine.open)
    await f.store.addHold(hold({ predictionId: UNKNOWN_ID }))
    expect(await f.store.listHolds()).toEqual([])
    expect(await f.store.removeHold({ ...ALL_JOBS, predictionId: UNKNOWN_ID })).toBe(true)
  })
})
