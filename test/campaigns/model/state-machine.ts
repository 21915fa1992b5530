/**
 * The state machine: the enabled steps, the disturbances, and how everything settles.
 * Invariant: the invariants hold after each step.
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
  /** Steps of workers, and disturbances: cancels and disasters. */
  enabledSteps(): Promise<{ workerSteps: Step[]; disturbances: Step[] }>
  /** A fingerprint without times and ids: two histories with one fingerprint continue alike. */
  fingerprint(): Promise<string>
  /** Runs the step, then asserts the invariants. */
  execute(step: Step): Promise<void>
  /** Returns a function that restores everything except the store. */
  snapshot(): () => void
  /**
   * Runs without disturbances until no work is left.
   * @returns each prediction's history of states, as its app saw it
   */
  settle(): Promise<string[]>
}

export async function createStateMachine(store: Store, options: ModelOptions): Promise<StateMachine> {
  const state = await createModelState(store, options)
  const { rows, upstreamJobs, pendingTasks, receivedWebhooks, remaining, readJobs, readCircuit, clearCache } =
    state
  const { bounds, disasters } = state.options
  const { checkImage, submit } = createSubmitActions(state)
  const { upstreamSteps, poll } = createTrackingActions(state)
  const { reconcile, probeCircuit } = createReconcileActions(state)
  const { assertInvariants, assertFinalState } = createInvariants(state)

  const disaster = (name: Disaster): Step => [
    name,
    async () => {
      remaining.disasters--
      if (name === 'SIGKILL' || name === 'lease expired') receivedWebhooks.clear()
      if (name === 'SIGKILL') pendingTasks.clear()
      if (name === 'lease expired') for (const task of pendingTasks) task.isAlive = false
      state.now += name === 'past the deadline' ? DEADLINE_MS : 2 * LEASE_MS
    },
  ]

  const hasFreshImage = (job: Job) =>
    job.imageVerifiedAt !== null && job.imageVerifiedAt > state.now - IMAGE_FRESH_MS

  /** @param isEager also offers claims that will find nothing */
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
        hasDue(job => isWaiting(job) && !hasFreshImage(job)) && [
          'image checker',
          bounded('images', checkImage),
        ],
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
        expect(rounds, 'it does not settle').toBeLessThan(1000)
        for (const upstreamJob of upstreamJobs) upstreamJob.outcome ??= ENDS.completed
        state.now++
        // All workers claim in turn, and a worker that claimed something finishes it.
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
        // A half-open circuit waits for a job to probe with.
        if (circuit !== null && !circuit.halfOpen) dueTimes.push(circuit.until)
        const later = dueTimes.filter(dueTime => dueTime > state.now)
        if (open.length === 0 && later.length === 0) break
        expect(later, 'work is left, and nothing will be due').not.toEqual([])
        state.now = Math.min(...later)
      }
      return Promise.all(rows.map(row => assertFinalState(row)))
    },
  }
  return machine
}
