/**
 * A gateway whose clock can leap, on a simulator that lies, with everything that happened to it in view.
 */
import { join } from 'node:path'
import Database from 'better-sqlite3'
import type { Call, Fault } from '../../src/simulator/simulator.ts'
import { type Harness, type HarnessOptions, type LogLine, startGateway, submit } from './gateway.ts'
import { until } from './until.ts'

/** In every prompt and in every text of upstream's; none of them belongs into a log. */
export const MARK = 'heron'

export type Timed = Call & { at: number }
export const isSubmit = (call: Call) => call.method === 'POST' && call.path !== '/predictions'
export const isLook = (call: Call) => call.path.endsWith('/result')
export const isProbe = (call: Call) => ['/predictions', '/balance'].includes(call.path)
export const promptOf = (call: Call): string => (call.body as { prompt: string }).prompt
export const idOf = (look: Call): string => look.path.split('/')[2]!

/** Every line that was logged in this file. */
export const lines: LogLine[] = []

/** A gateway whose clock can leap, on a simulator that lies as `fault` says; all its calls, over every restart. */
export async function open(
  options: Pick<HarnessOptions, 'env' | 'images'> & { fault?: (call: Timed) => Fault | null } = {},
) {
  const { fault = () => null, ...rest } = options
  let ahead = 0
  let made = 0
  const now = () => Date.now() + ahead
  const calls: Timed[] = []
  const harness = await startGateway({
    ...rest,
    overrides: {
      now,
      simulator: {
        fault(call) {
          const timed = { ...call, at: now() }
          calls.push(timed)
          return fault(timed)
        },
      },
    },
  })
  const { key, query, log } = harness

  return {
    harness,
    log,
    calls,
    now,
    leap: (ms: number) => {
      ahead += ms
    },
    submits: () => calls.filter(isSubmit),
    looks: () => calls.filter(isLook),
    probes: () => calls.filter(isProbe),
    /** Submits a job that is done at once, unless `words` say otherwise. */
    async submit(words = 'sim:seconds=0', of = key, image?: string) {
      const prompt = `a ${MARK} ${++made} ${words}`
      return { id: await submit(harness, prompt, of, image), prompt }
    },
    read: async (id: string) => (await query(READ, { id })).data.prediction,
    reached: (id: string, ...statuses: string[]) =>
      until(async () => {
        const { prediction } = (await query(READ, { id })).data
        return statuses.includes(prediction.status) && prediction
      }),
    paused: () => until(() => harness.gateway.store.paused()),
    resumed: () => until(async () => (await harness.gateway.store.paused()) === null),
    /** What the file itself says. */
    row: (prompt: string) => rowOf(harness, prompt),
    /** POSTs that were begun, whether they have arrived or not. */
    begun: () => inFile(harness, 'rushes.db', db => db.prepare(ATTEMPTS).pluck().get() as number),
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
      const [id] = inFile(harness, 'rushes.db', db => db.prepare(SOME).pluck().all() as string[])
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

const READ = `query ($id: ID!) {
  prediction(id: $id) {
    status queuePosition upstreamId submittedAt finishedAt
    error { code message retryable } cost { amount } outputs { url }
  }
}`
const ATTEMPTS = 'select coalesce(sum(attempts), 0) from predictions'
const SOME = 'select id from predictions limit 1'
export const FINAL = ['COMPLETED', 'FAILED', 'CANCELED']

export function inFile<Fact>({ folder }: Harness, name: string, look: (db: Database.Database) => Fact): Fact {
  const db = new Database(join(folder, name), { readonly: true })
  try {
    return look(db)
  } finally {
    db.close()
  }
}

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
const rowOf = (harness: Harness, prompt: string): Row =>
  inFile(
    harness,
    'rushes.db',
    db => db.prepare('select * from predictions where prompt = ?').get(prompt) as Row,
  )

export const refuses = (status: number, code = status, message = `no ${MARK} for you`): Fault => ({
  status,
  body: JSON.stringify({ code, message, data: null }),
})
export const says = (status: number, body: string, headers: Record<string, string> = {}): Fault => ({
  status,
  body,
  headers,
})
export const shows = (data: object): Fault => says(200, JSON.stringify({ code: 200, message: '', data }))
