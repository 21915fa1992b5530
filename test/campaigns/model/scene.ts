/**
 * What all who work on the jobs of a cancel share: the store, a clock, what is true beside it, and who is in the middle of what.
 * Invariant: what is true changes only by what somebody did, and all of it can be put back as it was.
 */
import { expect } from 'vitest'
import type { AppId, Job } from '../../../src/domain/prediction.ts'
import type { StandingPause } from '../../../src/domain/submit-circuit.ts'
import type { Store } from '../../../src/store/store.ts'
import { add, jobOf, newApp, seeAll } from '../../support/store.ts'
import {
  ANSWERS,
  type Bounds,
  DISASTERS,
  END_NAMES,
  type Hand,
  LEASE,
  type Options,
  type Row,
  type Run,
  type Step,
} from './model.ts'

export interface Scene {
  readonly store: Store
  readonly app: AppId
  readonly options: Required<Options>
  now: number
  /** How often each may still happen. */
  readonly left: Bounds
  readonly hands: Set<Hand>
  readonly runs: Run[]
  /** Of these a webhook came to the process that is alive. */
  readonly heard: Set<Run>
  readonly rows: readonly Row[]
  /** The rows as the store has them; read once between two steps. */
  peek(): Promise<Job[]>
  /** As it was before the step that is being taken. */
  jobOf(row: { id: string }): Promise<Job>
  peekPause(): Promise<StandingPause | null>
  forget(): void
  rowOf(job: { id: string }): Row
  runOf(row: Row): Run | undefined
  lease(): { now: number; leaseUntil: number; limit: number }
  /** Somebody begins something, and may go on with any of the steps. */
  hand(name: string, job: Job | null, steps: Step[]): void
  placed(): number
  /** The store counts the places as they are. */
  countPlaces(): Promise<void>
  /** All of it as it is now, but for what the store has. */
  save(): () => void
}

export async function createScene(store: Store, given: Options): Promise<Scene> {
  const options = { answers: ANSWERS, ends: END_NAMES, disasters: DISASTERS, ...given }
  const { rows: count, bounds, from } = options
  const app = await newApp(store)
  const rows: Row[] = []
  for (let i = 0; i < count; i++)
    rows.push({
      id: (await add(store, app, from + i)).id,
      name: `${i}`,
      claims: 0,
      refusals: 0,
      sent: [],
      stood: ['QUEUED'],
      isPlaced: false,
      canceled: null,
      cancels: 0,
    })
  // Where it is not about them, images have been seen.
  if (bounds.images === 0) await seeAll(store, from + count)

  let peeked: Job[] | null = null
  let pausePeeked: StandingPause | null | undefined

  const scene: Scene = {
    store,
    app,
    options,
    now: from + count,
    left: { ...bounds },
    hands: new Set(),
    runs: [],
    heard: new Set(),
    rows,

    async peek() {
      peeked ??= await Promise.all(rows.map(({ id }) => jobOf(store, id)))
      return peeked
    },
    async jobOf({ id }) {
      return (await scene.peek()).find(job => job.id === id)!
    },
    async peekPause() {
      if (pausePeeked === undefined) pausePeeked = await store.paused()
      return pausePeeked
    },
    forget() {
      peeked = null
      pausePeeked = undefined
    },

    rowOf: ({ id }) => rows.find(row => row.id === id)!,
    runOf: row => scene.runs.find(run => run.of === row),
    lease: () => ({ now: scene.now, leaseUntil: scene.now + LEASE, limit: 1 }),

    hand(name, job, steps) {
      const { hands } = scene
      const one: Hand = { name, job, isAlive: true, steps: [] }
      one.steps = steps.map(([step, run]) => [
        `${name}: ${step}`,
        async () => {
          hands.delete(one)
          // What a process that was taken for dead goes on with is still its own.
          const others = new Set(hands)
          await run()
          if (!one.isAlive) for (const next of hands) if (!others.has(next)) next.isAlive = false
        },
      ])
      hands.add(one)
    },

    placed: () => rows.filter(row => row.isPlaced).length,
    async countPlaces() {
      const { begun, inFlight } = await store.tally()
      expect(begun + inFlight, 'places taken').toBe(scene.placed())
    },

    save() {
      const { now, left, hands, runs, heard } = scene
      const kept = { now, left: { ...left }, heard: [...heard], hands: [...hands] }
      const living = kept.hands.filter(one => one.isAlive)
      const copy = (row: Row): Row => ({ ...row, sent: [...row.sent], stood: [...row.stood] })
      const truths = rows.map(copy)
      const ran = runs.map(run => [run, { ...run }] as const)
      return () => {
        scene.forget()
        scene.now = kept.now
        Object.assign(left, kept.left)
        for (const [i, truth] of truths.entries()) Object.assign(rows[i]!, copy(truth))
        runs.splice(0, Infinity, ...ran.map(([run, truth]) => Object.assign(run, truth)))
        heard.clear()
        for (const run of kept.heard) heard.add(run)
        hands.clear()
        for (const one of kept.hands) {
          one.isAlive = living.includes(one)
          hands.add(one)
        }
      }
    },
  }
  return scene
}
