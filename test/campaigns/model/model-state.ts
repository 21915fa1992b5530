/**
 * What all who work on the jobs of a cancel share: the store, a clock, what is true beside it, and who is in the middle of what.
 * Invariant: what is true changes only by what somebody did, and all of it can be put back as it was.
 */
import { expect } from 'vitest'
import type { AppId, Job } from '../../../src/domain/prediction.ts'
import type { SubmitCircuit } from '../../../src/domain/submit-circuit.ts'
import type { Store } from '../../../src/store/store.ts'
import { addPrediction, jobOf, newApp, verifyAllImages } from '../../support/store.ts'
import {
  type Bounds,
  DISASTERS,
  END_NAMES,
  LEASE_MS,
  type ModelOptions,
  type ModelRow,
  type PendingTask,
  type Step,
  SUBMIT_ANSWERS,
  type UpstreamJob,
} from './model.ts'

export interface ModelState {
  readonly store: Store
  readonly app: AppId
  readonly options: Required<ModelOptions>
  now: number
  /** How often each may still happen. */
  readonly remaining: Bounds
  readonly pendingTasks: Set<PendingTask>
  readonly upstreamJobs: UpstreamJob[]
  /** Of these a webhook came to the process that is alive. */
  readonly receivedWebhooks: Set<UpstreamJob>
  readonly rows: readonly ModelRow[]
  /** The rows as the store has them; read once between two steps. */
  readJobs(): Promise<Job[]>
  /** As it was before the step that is being taken. */
  jobOf(row: { id: string }): Promise<Job>
  readCircuit(): Promise<SubmitCircuit | null>
  clearCache(): void
  rowOf(job: { id: string }): ModelRow
  upstreamJobOf(row: ModelRow): UpstreamJob | undefined
  lease(): { now: number; leaseUntil: number; limit: number }
  /** Somebody begins something, and may go on with any of the steps. */
  addTask(name: string, job: Job | null, steps: Step[]): void
  occupiedSlots(): number
  /** The store counts the places as they are. */
  assertSlotCount(): Promise<void>
  /** All of it as it is now, but for what the store has. */
  snapshot(): () => void
}

export async function createModelState(store: Store, overrides: ModelOptions): Promise<ModelState> {
  const options = { answers: SUBMIT_ANSWERS, ends: END_NAMES, disasters: DISASTERS, ...overrides }
  const { rows: count, bounds, from } = options
  const app = await newApp(store)
  const rows: ModelRow[] = []
  for (let i = 0; i < count; i++)
    rows.push({
      id: (await addPrediction(store, app, from + i)).id,
      name: `${i}`,
      claims: 0,
      refusals: 0,
      postAnswers: [],
      observedStates: ['QUEUED'],
      occupiesSlot: false,
      canceled: null,
      cancels: 0,
    })
  // Where it is not about them, images have been seen.
  if (bounds.images === 0) await verifyAllImages(store, from + count)

  let cachedJobs: Job[] | null = null
  let cachedCircuit: SubmitCircuit | null | undefined

  const state: ModelState = {
    store,
    app,
    options,
    now: from + count,
    remaining: { ...bounds },
    pendingTasks: new Set(),
    upstreamJobs: [],
    receivedWebhooks: new Set(),
    rows,

    async readJobs() {
      cachedJobs ??= await Promise.all(rows.map(({ id }) => jobOf(store, id)))
      return cachedJobs
    },
    async jobOf({ id }) {
      return (await state.readJobs()).find(job => job.id === id)!
    },
    async readCircuit() {
      if (cachedCircuit === undefined) cachedCircuit = await store.submitCircuit()
      return cachedCircuit
    },
    clearCache() {
      cachedJobs = null
      cachedCircuit = undefined
    },

    rowOf: ({ id }) => rows.find(row => row.id === id)!,
    upstreamJobOf: row => state.upstreamJobs.find(upstreamJob => upstreamJob.row === row),
    lease: () => ({ now: state.now, leaseUntil: state.now + LEASE_MS, limit: 1 }),

    addTask(name, job, steps) {
      const { pendingTasks } = state
      const task: PendingTask = { name, job, isAlive: true, steps: [] }
      task.steps = steps.map(([step, run]) => [
        `${name}: ${step}`,
        async () => {
          pendingTasks.delete(task)
          // What a process that was taken for dead goes on with is still its own.
          const earlierTasks = new Set(pendingTasks)
          await run()
          if (!task.isAlive)
            for (const task of pendingTasks) if (!earlierTasks.has(task)) task.isAlive = false
        },
      ])
      pendingTasks.add(task)
    },

    occupiedSlots: () => rows.filter(row => row.occupiesSlot).length,
    async assertSlotCount() {
      const { submitting, inFlight } = await store.countByState()
      expect(submitting + inFlight, 'places taken').toBe(state.occupiedSlots())
    },

    snapshot() {
      const { now, remaining, pendingTasks, upstreamJobs, receivedWebhooks } = state
      const saved = {
        now,
        remaining: { ...remaining },
        receivedWebhooks: [...receivedWebhooks],
        pendingTasks: [...pendingTasks],
      }
      const aliveTasks = saved.pendingTasks.filter(task => task.isAlive)
      const copy = (row: ModelRow): ModelRow => ({
        ...row,
        postAnswers: [...row.postAnswers],
        observedStates: [...row.observedStates],
      })
      const savedRows = rows.map(copy)
      const savedJobs = upstreamJobs.map(upstreamJob => [upstreamJob, { ...upstreamJob }] as const)
      return () => {
        state.clearCache()
        state.now = saved.now
        Object.assign(remaining, saved.remaining)
        for (const [i, savedRow] of savedRows.entries()) Object.assign(rows[i]!, copy(savedRow))
        upstreamJobs.splice(
          0,
          Infinity,
          ...savedJobs.map(([upstreamJob, savedJob]) => Object.assign(upstreamJob, savedJob)),
        )
        receivedWebhooks.clear()
        for (const upstreamJob of saved.receivedWebhooks) receivedWebhooks.add(upstreamJob)
        pendingTasks.clear()
        for (const task of saved.pendingTasks) {
          task.isAlive = aliveTasks.includes(task)
          pendingTasks.add(task)
        }
      }
    },
  }
  return state
}
