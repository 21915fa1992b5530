/**
 * A small world beside the real store and the real decisions: who may go on next, what may break in, and how all of it
 * settles once nothing more goes wrong.
 * Invariant: after each step all is so that must be.
 */
import { expect } from 'vitest'
import type { Job } from '../../../src/domain/prediction.ts'
import type { Store } from '../../../src/store/store.ts'
import { cancel } from './app.ts'
import { createFollowing } from './following.ts'
import {
  type Bounds,
  DEADLINE,
  type Disaster,
  ENDS,
  IMAGE_FRESH,
  LEASE,
  type Options,
  type Step,
  SUBMIT_TIMEOUT,
} from './model.ts'
import { createScene } from './scene.ts'
import { createSearching } from './searching.ts'
import { createSending } from './sending.ts'
import { createTruth, isOpen, isWaiting } from './truth.ts'

export interface World {
  /** Who may go on, and what may break in. */
  steps(): Promise<{ ahead: Step[]; aside: Step[] }>
  /** What is so, without moments and ids: two histories that lead to it go on alike. */
  state(): Promise<string>
  /** Then looks whether all is so that must be, between any two steps. */
  take(step: Step): Promise<void>
  /** All of it as it is now, but for what the store has. */
  save(): () => void
  /**
   * Nothing more goes wrong: everybody goes on until there is nothing left to do.
   * @returns what each app was told, from first to last
   */
  settle(): Promise<string[]>
}

export async function createWorld(store: Store, options: Options): Promise<World> {
  const scene = await createScene(store, options)
  const { rows, runs, hands, heard, left, peek, peekPause, forget } = scene
  const { bounds, disasters } = scene.options
  const { inspect, submit } = createSending(scene)
  const { upstream, poll } = createFollowing(scene)
  const { reconcile, probe } = createSearching(scene)
  const { check, isTrue } = createTruth(scene)

  const disaster = (name: Disaster): Step => [
    name,
    async () => {
      left.disasters--
      if (name === 'SIGKILL' || name === 'taken for dead') heard.clear()
      if (name === 'SIGKILL') hands.clear()
      if (name === 'taken for dead') for (const one of hands) one.isAlive = false
      scene.now += name === 'past the deadline' ? DEADLINE : 2 * LEASE
    },
  ]

  const isSeen = (job: Job) => job.imageSeenAt !== null && job.imageSeenAt > scene.now - IMAGE_FRESH

  /** @param isEager those too who will find nothing to claim */
  async function claims(isEager = false): Promise<Step[]> {
    const jobs = await peek()
    const due = jobs.filter(job => job.dueAt <= scene.now)
    const hasDue = (is: (job: Job) => boolean) => isEager || due.some(is)
    const pause = await peekPause()
    const isPaused = pause !== null && !pause.trial
    const bounded = (bound: keyof Bounds, run: () => Promise<void>) => async () => {
      left[bound]--
      await run()
    }
    const steps: (Step | false)[] = [
      !isPaused &&
        left.images > 0 &&
        hasDue(job => isWaiting(job) && !isSeen(job)) && ['inspector', bounded('images', inspect)],
      !isPaused &&
        left.claims > 0 &&
        hasDue(job => isWaiting(job) && isSeen(job)) && ['submitter', bounded('claims', submit)],
      left.looks > 0 &&
        hasDue(job => job.submission === 'accepted' && job.following !== null) && [
          'poller',
          bounded('looks', poll),
        ],
      left.searches > 0 &&
        hasDue(
          job => job.submission === 'begun' || (job.submission === 'unknown' && job.following !== null),
        ) && ['reconciler', bounded('searches', reconcile)],
      isPaused && pause.until <= scene.now && ['probe', probe],
    ]
    return steps.filter(step => step !== false)
  }

  const world: World = {
    async steps() {
      scene.now++
      const cancels = rows
        .filter(row => row.cancels < bounds.cancels)
        .map((row): Step => [`app: cancels ${row.name}`, () => cancel(scene, row)])
      return {
        ahead: [...[...hands].flatMap(({ steps }) => steps), ...(await claims()), ...runs.flatMap(upstream)],
        aside: [...cancels, ...(left.disasters > 0 ? disasters.map(disaster) : [])],
      }
    },

    async state() {
      const jobs = await peek()
      const pause = await peekPause()
      const standings = jobs.map(job => [
        [job.status, job.error, job.cost, job.submission, job.following, job.upstreamId !== null],
        [
          job.dueAt <= scene.now,
          isSeen(job),
          job.imageTries,
          job.emptySince !== null,
          job.startedAt !== null,
        ],
        [job.begunAt !== null, job.begunAt !== null && scene.now > job.begunAt + SUBMIT_TIMEOUT],
        job.submittedAt !== null && scene.now > job.submittedAt + DEADLINE,
      ])
      const held = [...hands].map(({ name, isAlive, job }) => {
        const age = job === null ? 0 : jobs.find(({ id }) => id === job.id)!.fence - job.fence
        const known = job && [
          job.following,
          job.emptySince !== null,
          scene.now > (job.begunAt ?? scene.now) + SUBMIT_TIMEOUT,
        ]
        return [name, isAlive, age, known]
      })
      return JSON.stringify([
        left,
        standings,
        held.map(one => JSON.stringify(one)).sort(),
        runs.map(({ of, isProcessing, end, webhooks }) => [of.name, isProcessing, end, webhooks]),
        runs.map(run => [heard.has(run), scene.now > run.at + DEADLINE]),
        rows.map(({ id: _, ...truth }) => truth),
        pause && [pause.reason, pause.trial, pause.trialOf !== null, pause.until <= scene.now],
      ])
    },

    async take([, run]) {
      await run()
      forget()
      await check()
    },

    save: scene.save,

    async settle() {
      for (const one of hands) if (!one.isAlive) hands.delete(one)
      Object.assign(left, { images: 1e3, claims: 1e3, looks: 1e3, searches: 1e3 })
      for (let rounds = 0; ; rounds++) {
        expect(rounds, 'it never settles').toBeLessThan(1000)
        for (const run of runs) run.end ??= ENDS.completed
        scene.now++
        // All claim in turn, and whoever got something goes through with it.
        if (hands.size === 0) {
          for (const [, claim] of await claims(rounds % 8 === 0)) await claim()
          forget()
        }
        const [one] = hands
        if (one !== undefined) {
          await world.take(one.steps[0]!)
          continue
        }
        const open = (await peek()).filter(isOpen)
        const pause = await peekPause()
        const moments = open.map(job => job.dueAt)
        // A trial waits for a job to try it with.
        if (pause !== null && !pause.trial) moments.push(pause.until)
        const later = moments.filter(moment => moment > scene.now)
        if (open.length === 0 && later.length === 0) break
        expect(later, 'something is open, and nothing will be due').not.toEqual([])
        scene.now = Math.min(...later)
      }
      return Promise.all(rows.map(row => isTrue(row)))
    },
  }
  return world
}
