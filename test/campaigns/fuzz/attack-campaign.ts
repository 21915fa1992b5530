/**
 * Attacks a gateway from a process of the lowest priority, and measures another app's requests before and meanwhile.
 * Invariant: the gateway survives with a heap of 512 MB, its memory does not grow much, and the other app hardly waits.
 */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdir } from 'node:fs/promises'
import { Agent, request } from 'node:http'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { readResidentBytes } from '../../bench/start/resident-memory.ts'
import { createApp } from '../../support/app.ts'
import { emptyFolder, run } from '../../support/process.ts'
import { until } from '../../support/until.ts'
import type { AttackOrder } from './attacker.ts'
import type { AttackName, AttackTarget } from './attacks.ts'

export interface AttackLimits {
  attackMs: number
  /** The other app's p99 may reach this, or three times what it was before. */
  maxP99Ms: number
  maxGrowthBytes: number
}

export interface AttackReport {
  summary: string
  breaches: string[]
}

const ENV = {
  PORT: '0',
  LOG_LEVEL: 'error',
  NODE_OPTIONS: '--max-old-space-size=512',
  // Both apps have one address. A limit of it would hide what a request costs.
  MAX_REQUESTS_PER_MINUTE_PER_ADDRESS: '10000000',
  MAX_REQUESTS_PER_MINUTE_PER_KEY: '10000000',
}
/** The other tests of the suite may take all processors meanwhile. */
const START_TIMEOUT_MS = 30_000
const PROBE_INTERVAL_MS = 20
const PROBE_TIMEOUT_MS = 10_000
const BASELINE_MS = 1500
const MEMORY_INTERVAL_MS = 100

export async function attackGateway(
  name: AttackName,
  seed: number,
  limits: AttackLimits,
): Promise<AttackReport> {
  const folder = await emptyFolder()
  await mkdir(join(folder.path, 'data'))
  const gateway = run('start.js', folder.path, ENV)
  const agent = new Agent({ keepAlive: true })
  try {
    const exited = gateway.untilEnded().then(() => {
      throw new Error(`the gateway did not start: ${gateway.err}`)
    })
    const [, port] = await Promise.race([
      until(() => /GraphQL +http:\S+:(\d+)\//.exec(gateway.out), START_TIMEOUT_MS),
      exited,
    ])
    exited.catch(() => {})
    const database = join(folder.path, 'data', 'rushes.db')
    const [attacking, other] = [await createApp(database, 'attacking'), await createApp(database, 'other')]
    const url = `http://127.0.0.1:${port}/graphql`
    const target = await prepareTarget(url, attacking.key)

    const probe = () => sendProbe(agent, url, other.key)
    await measure(probe, delay(500))
    const before = p99(await measure(probe, delay(BASELINE_MS)))
    const residentBefore = await readResidentBytes(gateway.child.pid!)
    let peakResident = residentBefore
    const sampling = setInterval(async () => {
      const bytes = await readResidentBytes(gateway.child.pid!).catch(() => 0)
      peakResident = Math.max(peakResident, bytes)
    }, MEMORY_INTERVAL_MS)
    const order: AttackOrder = { name, target: { ...target, port: Number(port) }, seed, ms: limits.attackMs }
    const attack = runAttacker(order)
    const during = p99(await measure(probe, attack))
    clearInterval(sampling)
    const numbers = await attack

    const breaches: string[] = []
    const { exitCode, signalCode } = gateway.child
    if (exitCode !== null || signalCode !== null)
      breaches.push(`the gateway ended with ${exitCode ?? signalCode}: ${gateway.err.slice(-500)}`)
    else if (!Number.isFinite(await probe())) breaches.push('the other app gets no answer after the attack')
    if (gateway.err !== '') breaches.push(`the gateway logged: ${gateway.err.slice(0, 500)}`)
    const maxP99Ms = Math.max(limits.maxP99Ms, 3 * before)
    if (during > maxP99Ms)
      breaches.push(`p99 of the other app: ${during.toFixed(0)} ms, before ${before.toFixed(0)} ms`)
    const growth = peakResident - residentBefore
    if (growth > limits.maxGrowthBytes) breaches.push(`resident memory grew by ${toMegabytes(growth)}`)
    const figures = `p99 ${before.toFixed(0)} -> ${during.toFixed(0)} ms, +${toMegabytes(growth)}`
    return {
      summary: `${numbers} · ${figures}`,
      breaches: breaches.map(breach => `${breach}, under ${numbers}`),
    }
  } finally {
    agent.destroy()
    await gateway[Symbol.asyncDispose]()
    await folder[Symbol.asyncDispose]()
  }
}

const toMegabytes = (bytes: number) => `${(bytes / 1e6).toFixed(0)} MB`

const p99 = (times: number[]): number =>
  times.sort((a, b) => a - b)[Math.floor(times.length * 0.99)] ?? Number.POSITIVE_INFINITY

/** Sends a request at each interval, whether or not the earlier ones are answered. */
async function measure(probe: () => Promise<number>, end: Promise<unknown>): Promise<number[]> {
  const times: Promise<number>[] = []
  const timer = setInterval(() => times.push(probe()), PROBE_INTERVAL_MS)
  await end
  clearInterval(timer)
  return Promise.all(times)
}

/** Milliseconds to the answer; infinite without one. */
function sendProbe(agent: Agent, url: string, key: string): Promise<number> {
  const startedAt = performance.now()
  return new Promise(resolve => {
    const fail = () => resolve(Number.POSITIVE_INFINITY)
    const sent = request(
      url,
      {
        method: 'POST',
        agent,
        timeout: PROBE_TIMEOUT_MS,
        headers: { 'content-type': 'application/json', authorization: `Bearer ${key}` },
      },
      response => {
        response.resume().once('error', fail)
        response.once('end', () =>
          response.statusCode === 200 ? resolve(performance.now() - startedAt) : fail(),
        )
      },
    )
    sent.once('timeout', () => sent.destroy())
    sent.once('error', fail)
    sent.end('{"query":"{ viewer { id } }"}')
  })
}

async function prepareTarget(url: string, key: string): Promise<Omit<AttackTarget, 'port'>> {
  const query = async (document: string, variables: object = {}) => {
    const response = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${key}` },
      body: JSON.stringify({ query: document, variables }),
    })
    // biome-ignore lint/suspicious/noExplicitAny: the shape is the document's
    return ((await response.json()) as any).data
  }
  const created = await query(
    'mutation { createAccessToken(input: { permissions: [READ] }) { ... on CreateAccessTokenPayload { token } } }',
  )
  const submitted = await query(
    `mutation ($prompt: String!) { submitVideo(input: { image: { url: "https://images.example/a.png" }, prompt: $prompt }) {
      ... on SubmitVideoPayload { prediction { id } } } }`,
    { prompt: 'x'.repeat(1500) },
  )
  return { key, readToken: created.createAccessToken.token, ids: [submitted.submitVideo.prediction.id] }
}

/** Resolves to the numbers of the attack at its end. */
async function runAttacker(order: AttackOrder): Promise<string> {
  const child = fork(new URL('attacker.ts', import.meta.url), { env: {}, execArgv: [] })
  const timer = setTimeout(() => child.kill('SIGKILL'), order.ms + 10_000)
  const ended = once(child, 'exit').then(() => ['(the attacker did not end)'])
  child.send(order)
  const [numbers] = await Promise.race([once(child, 'message'), ended])
  await ended
  clearTimeout(timer)
  return numbers as string
}
