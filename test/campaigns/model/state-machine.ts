/**
 * A small world beside the real store and the real decisions: who may go on next, what may break in, and how all of it
 * settles once nothing more goes wrong.
 * Invariant: after each step all is so that must be.
 */
import { expect } from 'vitest'
import type { Job } from '../../../src/domain/prediction.ts'
import type { Store } from '../../../src/store/store.ts'
import { cancel } from './cancel-actions.ts'
import { createInvariants, isWaiting, needsWork } from './invariants.ts'
import {
  type Bounds,
  DEADLINE_MS,
  type Disaster,
  ENDS,
  IMAGE_FRESH_MS,
  LEASE_MS,
  type ModelOptions,
  type Step,
  SUBMIT_TIMEOUT_MS,
} from './model.ts'
import { createModelState } from './model-state.ts'
import { createReconcileActions } from './reconcile-actions.ts'
import { createSubmitActions } from './submit-actions.ts'
import { createTrackingActions } from './tracking-actions.ts'

export interface StateMachine {
  /** Who may go on, and what may break in. */
  enabledSteps(): Promise<{ workerSteps: Step[]; disturbances: Step[] }>
  /** What is so, without moments and ids: two histories that lead to it go on alike. */
  fingerprint(): Promise<string>
  /** Then looks whether all is so that must be, between any two steps. */
  execute(step: Step): Promise<void>
  /** All of it as it is now, but for what the store has. */
  snapshot(): () => void
  /**
   * Nothing more goes wrong: everybody goes on until there is nothing left to do.
   * @returns what each app was told, from first to last
   */
  settle(): Promise<string[]>
}

export async function createStateMachine(store: Store, options: ModelOptions): Promise<StateMachine> {
  const state = await createModelState(store, options)
  const { rows, upstreamJobs, pendingTasks, receivedWebhooks, remaining, readJobs, readCircuit, clearCache } =
    state
  const { bounds, disasters } = state.options
  const { inspect: checkImage, submit } = createSubmitActions(state)
  const { upstream: upstreamSteps, poll } = createTrackingActions(state)
  const { reconcile, probe: probeCircuit } = createReconcileActions(state)
  const { check: assertInvariants, isTrue: assertFinalState } = createInvariants(state)

  const disaster = (name: Disaster): Step => [
    name,
    async () => {
      remaining.disasters--
      if (name === 'SIGKILL' || name === 'taken for dead') receivedWebhooks.clear()
      if (name === 'SIGKILL') pendingTasks.clear()
      if (name === 'taken for dead') for (const task of pendingTasks) task.isAlive = false
      state.now += name === 'past the deadline' ? DEADLINE_MS : 2 * LEASE_MS
    },
  ]

  const hasFreshImage = (job: Job) =>
    job.imageVerifiedAt !== null && job.imageVerifiedAt > state.now - IMAGE_FRESH_MS

  /** @param isEager those too who will find nothing to claim */
  async function claimSteps(isEager = false): Promise<Step[]> {
    const jobs = await readJobs()
    const due = jobs.filter(job => job.dueAt <= state.now)
    const hasDue = (predicate: (job: Job) => boolean) => isEager || due.some(predicate)
    const circuit = await readCircuit()
    const isCircuitOpen = circuit !== null && !circuit.halfOpen
    const bounded = (bound: keyof Bounds, run: () => Promise<void>) => async () => {
      remaining[bound]--
      await run()
    }
    const steps: (Step | false)[] = [
      !isCircuitOpen &&
        remaining.images > 0 &&
        hasDue(job => isWaiting(job) && !hasFreshImage(job)) && ['inspector', bounded('images', checkImage)],
      !isCircuitOpen &&
        remaining.claims > 0 &&
        hasDue(job => isWaiting(job) && hasFreshImage(job)) && ['submitter', bounded('claims', submit)],
      remaining.polls > 0 &&
        hasDue(job => job.submission === 'accepted' && job.tracking !== null) && [
          'poller',
          bounded('polls', poll),
        ],
      remaining.searches > 0 &&
        hasDue(
          job => job.submission === 'begun' || (job.submission === 'unknown' && job.tracking !== null),
        ) && ['reconciler', bounded('searches', reconcile)],
      isCircuitOpen && circuit.until <= state.now && ['probe', probeCircuit],
    ]
    return steps.filter(step => step !== false)
  }

  const machine: StateMachine = {
    async enabledSteps() {
      state.now++
      const cancels = rows
        .filter(row => row.cancels < bounds.cancels)
        .map((row): Step => [`app: cancels ${row.name}`, () => cancel(state, row)])
      return {
        workerSteps: [
          ...[...pendingTasks].flatMap(({ steps }) => steps),
          ...(await claimSteps()),
          ...upstreamJobs.flatMap(upstreamSteps),
        ],
        disturbances: [...cancels, ...(remaining.disasters > 0 ? disasters.map(disaster) : [])],
      }
    },

    async fingerprint() {
      const jobs = await readJobs()
      const circuit = await readCircuit()
      const jobStates = jobs.map(job => [
        [job.status, job.error, job.cost, job.submission, job.tracking, job.upstreamId !== null],
        [
          job.dueAt <= state.now,
          hasFreshImage(job),
          job.imageCheckFailures,
          job.completedWithoutOutputSince !== null,
          job.startedAt !== null,
        ],
        [
          job.submitStartedAt !== null,
          job.submitStartedAt !== null && state.now > job.submitStartedAt + SUBMIT_TIMEOUT_MS,
        ],
        job.submittedAt !== null && state.now > job.submittedAt + DEADLINE_MS,
      ])
      const tasks = [...pendingTasks].map(({ name, isAlive, job }) => {
        const fenceLag = job === null ? 0 : jobs.find(({ id }) => id === job.id)!.fence - job.fence
        const jobState = job && [
          job.tracking,
          job.completedWithoutOutputSince !== null,
          state.now > (job.submitStartedAt ?? state.now) + SUBMIT_TIMEOUT_MS,
        ]
        return [name, isAlive, fenceLag, jobState]
      })
      return JSON.stringify([
        remaining,
        jobStates,
        tasks.map(task => JSON.stringify(task)).sort(),
        upstreamJobs.map(({ row, isProcessing, outcome, webhooksSent }) => [
          row.name,
          isProcessing,
          outcome,
          webhooksSent,
        ]),
        upstreamJobs.map(upstreamJob => [
          receivedWebhooks.has(upstreamJob),
          state.now > upstreamJob.submittedAt + DEADLINE_MS,
        ]),
        rows.map(({ id: _, ...row }) => row),
        circuit && [
          circuit.reason,
          circuit.halfOpen,
          circuit.probePredictionId !== null,
          circuit.until <= state.now,
        ],
      ])
    },

    async execute([, run]) {
      await run()
      clearCache()
      await assertInvariants()
    },

    snapshot: state.snapshot,

    async settle() {
      for (const task of pendingTasks) if (!task.isAlive) pendingTasks.delete(task)
      Object.assign(remaining, { images: 1e3, claims: 1e3, polls: 1e3, searches: 1e3 })
      for (let rounds = 0; ; rounds++) {
        expect(rounds, 'it never settles').toBeLessThan(1000)
        for (const upstreamJob of upstreamJobs) upstreamJob.outcome ??= ENDS.completed
        state.now++
        // All claim in turn, and whoever got something goes through with it.
        if (pendingTasks.size === 0) {
          for (const [, claim] of await claimSteps(rounds % 8 === 0)) await claim()
          clearCache()
        }
        const [task] = pendingTasks
        if (task !== undefined) {
          await machine.execute(task.steps[0]!)
          continue
        }
        const open = (await readJobs()).filter(needsWork)
        const circuit = await readCircuit()
        const dueTimes = open.map(job => job.dueAt)
        // A trial waits for a job to try it with.
        if (circuit !== null && !circuit.halfOpen) dueTimes.push(circuit.until)
        const later = dueTimes.filter(dueTime => dueTime > state.now)
        if (open.length === 0 && later.length === 0) break
        expect(later, 'something is open, and nothing will be due').not.toEqual([])
        state.now = Math.min(...later)
      }
      return Promise.all(rows.map(row => assertFinalState(row)))
    },
  }
  return machine
}
