/**
 * A gateway with a movable clock on a simulator with faults. Records all calls, across restarts.
 */
import { expect } from 'vitest'
import { fullScope } from '../../src/domain/access-scope.ts'
import type { Job } from '../../src/domain/prediction.ts'
import { decodeId } from '../../src/graphql/global-id.ts'
import type { ApiCall, Fault } from '../../src/simulator/simulator.ts'
import { type HarnessOptions, type LogLine, startGateway, submit } from './gateway.ts'
import { allJobs, allPredictions, jobOf } from './store.ts'
import { until } from './until.ts'

const YEAR = 365 * 24 * 60 * 60 * 1000
/** Part of every prompt and of every upstream text. It must never be logged. */
export const LEAK_MARKER = 'heron'

export type TimedCall = ApiCall & { at: number }
export const isUpload = (call: ApiCall) => call.path.startsWith('/media/')
export const isSubmit = (call: ApiCall) =>
  call.method === 'POST' && call.path !== '/predictions' && !isUpload(call)
export const isPoll = (call: ApiCall) => call.path.endsWith('/result')
export const isProbe = (call: ApiCall) => ['/predictions', '/balance'].includes(call.path)
export const promptOf = (call: ApiCall): string => (call.body as { prompt: string }).prompt
export const upstreamIdOf = (poll: ApiCall): string => poll.path.split('/')[2]!

/** Every line that was logged in this test file. */
export const logLines: LogLine[] = []

/** The fields that `read` selects. They contain no text of the app. */
export const PREDICTION_FIELDS = `status queuePosition upstreamId submittedAt finishedAt
  error { code message retryable } cost { amount } outputs { url }`

export interface WorldOptions extends Pick<HarnessOptions, 'env' | 'images'> {
  /** Answers instead of the simulator. */
  fault?: (call: TimedCall) => Fault | null
  /** The clock moves only by `advanceClock`. */
  isClockFrozen?: boolean
  /** The fields that `read` selects. */
  fields?: string
}

/** Opens a gateway with a movable clock, on a simulator that answers as `fault` says. */
export async function openWorld(options: WorldOptions = {}) {
  const { fault = () => null, isClockFrozen = false, fields = PREDICTION_FIELDS, ...rest } = options
  const startedAt = Date.now()
  let clockOffsetMs = 0
  let submitCount = 0
  let sleptMs = 0
  const now = () => (isClockFrozen ? startedAt : Date.now()) + clockOffsetMs
  const clocks = { wall: now, monotonic: () => now() - sleptMs, boot: now }
  const advanceClock = (ms: number) => {
    clockOffsetMs += ms
  }
  const calls: TimedCall[] = []
  const recordCall = (call: ApiCall) => {
    const timed = { ...call, at: now() }
    calls.push(timed)
    return fault(timed)
  }
  const harness = await startGateway({ ...rest, overrides: { clocks, simulator: { fault: recordCall } } })
  const { query, log } = harness
  const key = await harness.gateway.issueKey('test', YEAR)
  const app = await harness.gateway.store.findAppByName('test')

  const READ = `query ($id: ID!) { prediction(id: $id) { ${fields} } }`
  const read = async (id: string) => (await query(READ, { id }, key)).data.prediction
  /** Polls the store, which costs little, and then reads the prediction as an app does. */
  const untilStatus = (id: string, statuses: string[], beforeRead = () => {}) =>
    until(async () => {
      beforeRead()
      const row = await harness.gateway.store.get(fullScope(app!.id), decodeId(id).id)
      if (row === null || !statuses.includes(row.status)) return null
      const prediction = await read(id)
      return statuses.includes(prediction.status) && prediction
    })

  return {
    harness,
    /** A key of the app "test" that outlives any movement of the clock. */
    key,
    log,
    calls,
    /** Passed to another simulator that replaces this one. */
    recordCall,
    now,
    advanceClock,
    /** The machine sleeps: time passes, and the monotonic clock stands still. */
    sleep(ms: number) {
      clockOffsetMs += ms
      sleptMs += ms
    },
    get gateway() {
      return harness.gateway
    },
    get store() {
      return harness.gateway.store
    },
    submits: () => calls.filter(isSubmit),
    /** The prompts of all submits. */
    submittedPrompts: () => calls.filter(isSubmit).map(promptOf),
    polls: () => calls.filter(isPoll),
    probes: () => calls.filter(isProbe),
    otherAppKey: () => harness.gateway.issueKey('other', YEAR),
    /** Executes a mutation whose result has the alias `answer`, and returns the result. */
    async mutate(mutation: string, input: object, apiKey = key) {
      const { data, errors } = await query(mutation, { input }, apiKey)
      expect(errors).toBeUndefined()
      return data.answer
    },
    /** Submits a job that is done at once, unless `directives` say otherwise. */
    async submit(directives = 'sim:seconds=0', apiKey = key, otherInput?: object) {
      const prompt = `a ${LEAK_MARKER} ${++submitCount} ${directives}`
      return { id: await submit(harness, prompt, apiKey, otherInput), prompt }
    },
    read,
    untilStatus: (id: string, ...statuses: string[]) => untilStatus(id, statuses),
    /** The same, while the clock advances one second per check. */
    fastForwardToStatus: (id: string, ...statuses: string[]) =>
      untilStatus(id, statuses, () => advanceClock(1000)),
    untilCircuitOpen: () => until(() => harness.gateway.store.submitCircuit()),
    untilCircuitClosed: () => until(async () => (await harness.gateway.store.submitCircuit()) === null),
    /** The job with this prompt, as the workers see it. */
    async job(prompt: string): Promise<Job> {
      const { store } = harness.gateway
      const prediction = (await allPredictions(store)).find(({ input }) => input.prompt === prompt)
      return jobOf(store, prediction!.id)
    },
    /** Number of predictions of all apps. */
    predictionCount: async () => (await allPredictions(harness.gateway.store)).length,
    /** Number of POSTs that were started, whether they have arrived or not. */
    submitAttemptCount: async () =>
      (await allJobs(harness.gateway.store)).reduce((sum, job) => sum + job.submitAttempts, 0),
    /** Number of queued jobs with a verified image. */
    claimableCount: async () =>
      (await allJobs(harness.gateway.store)).filter(
        ({ submission, imageVerifiedAt }) => submission === 'none' && imageVerifiedAt !== null,
      ).length,
    /** Waits until the submitter has claimed `minClaims` times. */
    async untilSubmitterClaimed(minClaims = 2) {
      const { store } = harness.gateway
      const { claimSubmits } = store
      let count = 0
      store.claimSubmits = async claim => {
        const jobs = await claimSubmits(claim)
        count++
        return jobs
      }
      const [any] = await allPredictions(store)
      await until(async () => {
        // A change without effect notifies the submitter.
        if (any !== undefined) await store.change(any.id, job => ({ dueAt: job.dueAt }), now())
        return count >= minClaims
      })
      store.claimSubmits = claimSubmits
    },
    /** Returns the circuit that the next probe claim returns; null if none is due. */
    async nextClaimedProbe() {
      const { store } = harness.gateway
      const { claimCircuitProbe } = store
      const taken: Awaited<ReturnType<typeof claimCircuitProbe>>[] = []
      store.claimCircuitProbe = async (...due) => {
        const circuit = await claimCircuitProbe(...due)
        taken.push(circuit)
        return circuit
      }
      await until(() => taken.length > 0)
      store.claimCircuitProbe = claimCircuitProbe
      return taken[0]
    },
    /** Runs `run` while the submitter claims nothing. */
    async withoutSubmitter<Result>(run: () => Promise<Result>): Promise<Result> {
      const { store } = harness.gateway
      const { claimSubmits } = store
      store.claimSubmits = async () => []
      const result = await run()
      store.claimSubmits = claimSubmits
      return result
    },
    async [Symbol.asyncDispose]() {
      await harness[Symbol.asyncDispose]()
      logLines.push(...log)
    },
  }
}

export const FINAL_STATUSES = ['COMPLETED', 'FAILED', 'CANCELED']

/** The body of an upstream response. */
export const envelope = (code: unknown, data: unknown = null, message = LEAK_MARKER) =>
  JSON.stringify({ code, message, data })
export const reply = (status: number, body: string, headers: Record<string, string> = {}): Fault => ({
  status,
  body,
  headers,
})
export const refusal = (status: number, code = status, message = `no ${LEAK_MARKER} for you`): Fault =>
  reply(status, envelope(code, null, message))
export const dataReply = (data: object): Fault => reply(200, envelope(200, data))
