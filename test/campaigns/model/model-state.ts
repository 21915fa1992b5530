/**
 * State that all steps share: store, clock, expected rows, pending tasks.
 * Invariant: only steps change it, and `snapshot()` can restore it.
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
  /** How often each event may still occur. */
  readonly remaining: Bounds
  readonly pendingTasks: Set<PendingTask>
  readonly upstreamJobs: UpstreamJob[]
  /** Jobs whose webhook reached the living process. */
  readonly receivedWebhooks: Set<UpstreamJob>
  readonly rows: readonly ModelRow[]
  /** All rows as stored, read once between two steps. */
  readJobs(): Promise<Job[]>
  /** The row before the current step. */
  jobOf(row: { id: string }): Promise<Job>
  readCircuit(): Promise<SubmitCircuit | null>
  clearCache(): void
  rowOf(job: { id: string }): ModelRow
  upstreamJobOf(row: ModelRow): UpstreamJob | undefined
  lease(): { now: number; leaseUntil: number; limit: number }
  /** Adds a worker in the middle of a job, which may continue with any of `steps`. */
  addTask(name: string, job: Job | null, steps: Step[]): void
  occupiedSlots(): number
  /** Asserts that the store counts as many occupied slots as the model. */
  assertSlotCount(): Promise<void>
  /** Returns a function that restores this state, except for the store. */
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
  // Every image counts as verified in tests that are not about images.
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
          // Tasks that a process adds after its lease has expired belong to that process.
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
      expect(submitting + inFlight, 'occupied slots').toBe(state.occupiedSlots())
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
