/**
 * Apps share slots in simulated time. The store that assigns them is the real one, in memory; only upstream is left
 * out.
 * Invariant: the result counts time in slots, up to the start of the last job.
 */

import type { AppId, Job } from '../../../src/domain/prediction.ts'
import { imageVerified } from '../../../src/domain/transitions.ts'
import { createPrediction, draft, HOUR, T, times } from '../../support/store.ts'
import { seededRandom } from '../polling/simulate.ts'
import type { FairnessCase, SimulatedApp } from './cases.ts'
import { openSeededStore } from './seeded-store.ts'

export interface FairnessOutcome {
  /** Time in slots of each app, in the case's order. */
  slotMs: number[]
  /** The longest time that an app had jobs waiting and none in a slot, ms. */
  maxWithoutSlotMs: number
  /** Max slots given to others while a single job waited. */
  maxOvertakes: number
}

interface AppState extends SimulatedApp {
  id: AppId
  activeJobs: number
  waitingJobs: number
  slotMs: number
  /** Since when it has jobs waiting and none in a slot. */
  withoutSlotSince: number | null
  nextArrivalAt: number
  /** Slots given to others since its only job arrived. */
  overtakes: number
}

export async function simulate({ slots, apps, totalJobs, backlog }: FairnessCase): Promise<FairnessOutcome> {
  using seeded = openSeededStore()
  const { store } = seeded
  const random = seededRandom(7)
  const appStates = apps.map((app): AppState => {
    const id = seeded.addApp(app.weight)
    const start = {
      activeJobs: 0,
      waitingJobs: 0,
      slotMs: 0,
      withoutSlotSince: null,
      nextArrivalAt: T,
      overtakes: 0,
    }
    return { ...app, id, ...start }
  })
  const stateOf = new Map(appStates.map(appState => [appState.id, appState]))
  const running: { job: Job; appState: AppState; startedAt: number; endsAt: number }[] = []
  let [now, startedJobs, createdJobs, maxWithoutSlotMs, maxOvertakes] = [T, 0, 0, 0, 0]

  /** Only as many images as may be needed count as verified. */
  function fillBacklog(appState: AppState): void {
    const count = backlog - appState.waitingJobs
    seeded.insertQueued(
      times(count, i => ({
        appId: appState.id,
        createdAt: T - 1e9 + createdJobs++,
        isImageVerified: i < totalJobs,
      })),
    )
    appState.waitingJobs = backlog
  }

  async function addArrivals(appState: AppState): Promise<void> {
    for (let i = 0; i < appState.arrivals!.jobs; i++) {
      const { prediction } = await createPrediction(store, draft(appState.id), null, now)
      await store.change(prediction.id, imageVerified(now), now)
    }
    appState.waitingJobs += appState.arrivals!.jobs
    appState.nextArrivalAt = now + appState.arrivals!.meanIntervalMs * (0.5 + random())
    appState.overtakes = 0
  }

  async function claimJobs(): Promise<void> {
    const jobs = await store.claimSubmits({
      now,
      leaseUntil: now + 10_000 * HOUR,
      limit: slots,
      upstreamConcurrency: slots,
      upstreamSubmitsPerMinute: null,
      imageVerifiedAfter: 0,
    })
    for (const job of jobs) {
      const appState = stateOf.get(job.appId)!
      appState.activeJobs++
      appState.waitingJobs--
      startedJobs++
      if (appState.arrivals?.jobs === 1) maxOvertakes = Math.max(maxOvertakes, appState.overtakes)
      for (const other of appStates) if (other !== appState && other.waitingJobs > 0) other.overtakes++
      running.push({ job, appState, startedAt: now, endsAt: now + appState.drawJobMs(random) })
    }
  }

  const complete = async ({ job }: { job: Job }) =>
    store.change(
      job.id,
      () => ({ status: 'COMPLETED', submission: 'accepted', tracking: null, finishedAt: now }),
      now,
    )

  for (;;) {
    for (const appState of appStates) {
      if (appState.arrivals === undefined && appState.waitingJobs <= backlog / 2) fillBacklog(appState)
      if (
        appState.arrivals &&
        appState.waitingJobs + appState.activeJobs === 0 &&
        appState.nextArrivalAt <= now
      )
        await addArrivals(appState)
    }
    for (const appState of appStates)
      if (appState.waitingJobs > 0 && appState.activeJobs === 0) appState.withoutSlotSince ??= now
    await claimJobs()
    for (const appState of appStates) {
      if (appState.withoutSlotSince === null || (appState.waitingJobs > 0 && appState.activeJobs === 0))
        continue
      maxWithoutSlotMs = Math.max(maxWithoutSlotMs, now - appState.withoutSlotSince)
      appState.withoutSlotSince = null
    }
    if (startedJobs >= totalJobs) break
    running.sort((a, b) => a.endsAt - b.endsAt)
    const arrivalTimes = appStates
      .filter(appState => appState.arrivals && appState.waitingJobs + appState.activeJobs === 0)
      .map(appState => appState.nextArrivalAt)
    now = Math.min(running[0]?.endsAt ?? Infinity, ...arrivalTimes.filter(at => at > now))
    while (running[0] && running[0].endsAt <= now) {
      const endedJob = running.shift()!
      endedJob.appState.slotMs += endedJob.endsAt - endedJob.startedAt
      endedJob.appState.activeJobs--
      await complete(endedJob)
    }
  }
  for (const { appState, startedAt } of running) appState.slotMs += now - startedAt
  return { slotMs: appStates.map(({ slotMs }) => slotMs), maxWithoutSlotMs, maxOvertakes }
}
