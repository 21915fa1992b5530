/**
 * A gateway whose clock can leap, on a simulator that lies, with everything that happened to it in view.
 */
import { join } from 'node:path'
import type { Database } from 'better-sqlite3'
import { expect } from 'vitest'
import { wholeOf } from '../../src/domain/access-scope.ts'
import { decodeId } from '../../src/graphql/global-id.ts'
import type { Call, Fault } from '../../src/simulator/simulator.ts'
import { inFile } from './file.ts'
import { type Harness, type HarnessOptions, type LogLine, startGateway, submit } from './gateway.ts'
import { until } from './until.ts'

const YEAR = 365 * 24 * 60 * 60 * 1000
/** In every prompt and in every text of upstream's; none of them belongs into a log. */
export const MARK = 'heron'

export type Timed = Call & { at: number }
export const isUpload = (call: Call) => call.path.startsWith('/media/')
export const isSubmit = (call: Call) =>
  call.method === 'POST' && call.path !== '/predictions' && !isUpload(call)
export const isLook = (call: Call) => call.path.endsWith('/result')
export const isProbe = (call: Call) => ['/predictions', '/balance'].includes(call.path)
export const promptOf = (call: Call): string => (call.body as { prompt: string }).prompt
export const idOf = (look: Call): string => look.path.split('/')[2]!

/** Every line that was logged in this file. */
export const lines: LogLine[] = []

/** What `read` asks for; no text of the app's own is in it. */
export const FIELDS = `status queuePosition upstreamId submittedAt finishedAt
  error { code message retryable } cost { amount } outputs { url }`

export interface WorldOptions extends Pick<HarnessOptions, 'env' | 'images'> {
  /** What upstream says instead of the truth, and to whom. */
  fault?: (call: Timed) => Fault | null
  /** Time goes on only by leaps. */
  isStill?: boolean
  /** What `read` asks for. */
  fields?: string
}

/** A gateway whose clock can leap, on a simulator that lies as `fault` says; all its calls, over every restart. */
export async function open(options: WorldOptions = {}) {
  const { fault = () => null, isStill = false, fields = FIELDS, ...rest } = options
  const begin = Date.now()
  let ahead = 0
  let made = 0
  const now = () => (isStill ? begin : Date.now()) + ahead
  const leap = (ms: number) => {
    ahead += ms
  }
  const calls: Timed[] = []
  const heard = (call: Call) => {
    const timed = { ...call, at: now() }
    calls.push(timed)
    return fault(timed)
  }
  const harness = await startGateway({ ...rest, overrides: { now, simulator: { fault: heard } } })
  const { query, log } = harness
  const key = await harness.gateway.issueKey('test', YEAR)
  const app = await harness.gateway.store.appNamed('test')

  const READ = `query ($id: ID!) { prediction(id: $id) { ${fields} } }`
  const read = async (id: string) => (await query(READ, { id }, key)).data.prediction
  /** Asked of the store, which costs next to nothing; then read as an app reads it. */
  const reached = (id: string, statuses: string[], goOn = () => {}) =>
    until(async () => {
      goOn()
      const row = await harness.gateway.store.get(wholeOf(app!.id), decodeId(id).id)
      if (row === null || !statuses.includes(row.status)) return null
      const prediction = await read(id)
      return statuses.includes(prediction.status) && prediction
    })

  return {
    harness,
    /** Of the app "test", for as long as any test leaps. */
    key,
    log,
    calls,
    /** For another simulator that stands in for the one here. */
    heard,
    now,
    leap,
    get gateway() {
      return harness.gateway
    },
    get store() {
      return harness.gateway.store
    },
    submits: () => calls.filter(isSubmit),
    /** The prompts of all submits. */
    posts: () => calls.filter(isSubmit).map(promptOf),
    looks: () => calls.filter(isLook),
    probes: () => calls.filter(isProbe),
    otherApp: () => harness.gateway.issueKey('other', YEAR),
    /** What a mutation named `answer` answers. */
    async ask(mutation: string, input: object, of = key) {
      const { data, errors } = await query(mutation, { input }, of)
      expect(errors).toBeUndefined()
      return data.answer
    },
    /** Submits a job that is done at once, unless `words` say otherwise. */
    async submit(words = 'sim:seconds=0', of = key, more?: object) {
      const prompt = `a ${MARK} ${++made} ${words}`
      return { id: await submit(harness, prompt, of, more), prompt }
    },
    read,
    reached: (id: string, ...statuses: string[]) => reached(id, statuses),
    /** The same, with the gateway's own time running fast. */
    hurried: (id: string, ...statuses: string[]) => reached(id, statuses, () => leap(1000)),
    paused: () => until(() => harness.gateway.store.paused()),
    resumed: () => until(async () => (await harness.gateway.store.paused()) === null),
    /** What the file itself says. */
    row: (prompt: string) => asked(harness, db => db.prepare(ROW).get(prompt) as Row),
    rows: () => asked(harness, db => db.prepare(ROWS).pluck().get() as number),
    /** POSTs that were begun, whether they have arrived or not. */
    begun: () => asked(harness, db => db.prepare(ATTEMPTS).pluck().get() as number),
    /** Jobs that wait and whose image was seen. */
    claimable: () => asked(harness, db => db.prepare(CLAIMABLE).pluck().get() as number),
    /** Waits until the submitter has looked what to send, from now on, and has taken what it may. */
    async looked(times = 2) {
      const { store } = harness.gateway
      const { claimSubmits } = store
      let count = 0
      store.claimSubmits = async claim => {
        const jobs = await claimSubmits(claim)
        count++
        return jobs
      }
      const [id] = asked(harness, db => db.prepare(SOME).pluck().all() as string[])
      await until(async () => {
        // A change of nothing rings the bell.
        if (id !== undefined) await store.change(id, job => ({ dueAt: job.dueAt }), now())
        return count >= times
      })
      store.claimSubmits = claimSubmits
    },
    /** The pause that the next look for the end of one takes up; null where none is due. */
    async probing() {
      const { store } = harness.gateway
      const { claimProbe } = store
      const taken: Awaited<ReturnType<typeof claimProbe>>[] = []
      store.claimProbe = async (...due) => {
        const pause = await claimProbe(...due)
        taken.push(pause)
        return pause
      }
      await until(() => taken.length > 0)
      store.claimProbe = claimProbe
      return taken[0]
    },
    /** Has `act` done before the submitter can take anything. */
    async unseen<Fact>(act: () => Promise<Fact>): Promise<Fact> {
      const { store } = harness.gateway
      const { claimSubmits } = store
      store.claimSubmits = async () => []
      const fact = await act()
      store.claimSubmits = claimSubmits
      return fact
    },
    async [Symbol.asyncDispose]() {
      await harness[Symbol.asyncDispose]()
      lines.push(...log)
    },
  }
}

const ATTEMPTS = 'select coalesce(sum(attempts), 0) from predictions'
const SOME = 'select id from predictions limit 1'
const ROW = 'select * from predictions where prompt = ?'
const ROWS = 'select count(*) from predictions'
const CLAIMABLE = `select count(*) from predictions where submission = 'none' and image_seen_at is not null`
export const FINAL = ['COMPLETED', 'FAILED', 'CANCELED']

const asked = <Fact>({ folder }: Harness, look: (db: Database) => Fact): Fact =>
  inFile(join(folder, 'rushes.db'), look)

export interface Row {
  id: string
  status: string
  error: string | null
  upstream_id: string | null
  submission: string
  following: string | null
  image_tries: number
  attempts: number
  running_at: number | null
  begun_at: number | null
  due_at: number
}

/** An answer of upstream's, as it writes one. */
export const envelope = (code: unknown, data: unknown = null, message = MARK) =>
  JSON.stringify({ code, message, data })
export const says = (status: number, body: string, headers: Record<string, string> = {}): Fault => ({
  status,
  body,
  headers,
})
export const refuses = (status: number, code = status, message = `no ${MARK} for you`): Fault =>
  says(status, envelope(code, null, message))
export const shows = (data: object): Fault => says(200, envelope(200, data))
