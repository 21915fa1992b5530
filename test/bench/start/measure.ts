/**
 * Time from a process's start until it is ready, and its resident memory when idle: of the gateway as `npm start`
 * runs it, alternating with a Node that does nothing.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { request } from 'undici'
import { readResidentBytes } from './resident-memory.ts'
import { EVENTS_PER_PREDICTION, seed } from './seed.ts'

export interface StartSizes {
  predictions: number
  /** Starts of each kind. */
  starts: number
  /** Idle time before memory is read. */
  idleMs: number
}

export interface StartSamples {
  /** Time to ready of each start, ms. */
  ready: number[]
  /** Bytes, when idle. */
  resident: number
}

export interface StartResults {
  predictions: number
  events: number
  /** Duration of a Node process that ends at once, ms. */
  bare: number[]
  empty: StartSamples
  many: StartSamples
  simulator: StartSamples
  /** Nothing is compiled: npm's scripts were not run, or `node_modules` is not writable. */
  first: StartSamples
}

/** An address without a listener. */
const UPSTREAM = 'http://127.0.0.1:9'
const ACCOUNT = { WAVESPEED_API_KEY: 'bench', WAVESPEED_BASE_URL: UPSTREAM }
const SCRIPT = fileURLToPath(new URL('../../../src/start.js', import.meta.url))

export async function measureStart({ predictions, starts, idleMs }: StartSizes): Promise<StartResults> {
  const folder = await mkdtemp(join(tmpdir(), 'rushes-start-'))
  let folders = 0
  const fresh = async () => {
    const path = join(folder, String(folders++))
    await mkdir(path)
    return path
  }
  try {
    const seededFolder = await fresh()
    await seed(join(seededFolder, DATABASE), UPSTREAM, predictions)
    const compileCache = await fresh()
    const kinds = {
      empty: async (idle: number) => start(await fresh(), compileCache, ACCOUNT, idle),
      many: async (idle: number) => start(seededFolder, compileCache, ACCOUNT, idle),
      simulator: async (idle: number) => start(await fresh(), compileCache, {}, idle),
      first: async (idle: number) => start(await fresh(), await fresh(), ACCOUNT, idle),
    }
    // The compile cache that these starts write is read by those that are measured.
    await kinds.empty(0)
    await kinds.simulator(0)

    const emptySamples = (): StartSamples => ({ ready: [], resident: 0 })
    const started = {
      empty: emptySamples(),
      many: emptySamples(),
      simulator: emptySamples(),
      first: emptySamples(),
    }
    const bare: number[] = []
    for (let i = 1; i <= starts; i++) {
      bare.push(await startBare())
      for (const kind of ['empty', 'many', 'simulator', 'first'] as const) {
        const { ready, resident } = await kinds[kind](i === starts ? idleMs : 0)
        started[kind].ready.push(ready)
        started[kind].resident = resident
      }
    }
    return { predictions, events: predictions * EVENTS_PER_PREDICTION, bare, ...started }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

const DATABASE = 'bench.db'

/** @param compileCache folder of the compile cache */
async function start(folder: string, compileCache: string, env: Record<string, string>, idleMs: number) {
  const startedAt = performance.now()
  const gateway = spawn(process.execPath, [SCRIPT], {
    env: {
      PORT: '0',
      DATABASE_URL: `file:${join(folder, DATABASE)}`,
      LOG_LEVEL: 'silent',
      NODE_COMPILE_CACHE: compileCache,
      ...env,
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const ended = once(gateway, 'exit')
  try {
    const url = await readHealthUrl(gateway.stdout)
    while (!(await isReady(url))) await pause(1)
    const ready = performance.now() - startedAt
    await pause(idleMs)
    return { ready, resident: await readResidentBytes(gateway.pid!) }
  } finally {
    gateway.kill('SIGTERM')
    await ended
  }
}

async function readHealthUrl(out: NodeJS.ReadableStream): Promise<string> {
  for await (const line of createInterface(out)) {
    const url = /^ +Health +(\S+)/.exec(line)?.[1]
    if (url !== undefined) return url
  }
  throw new Error('the gateway did not start')
}

async function isReady(url: string): Promise<boolean> {
  const { statusCode, body } = await request(url, { reset: true })
  await body.dump()
  return statusCode === 200
}

async function startBare(): Promise<number> {
  const startedAt = performance.now()
  await once(spawn(process.execPath, ['--eval', ''], { stdio: 'ignore' }), 'exit')
  return performance.now() - startedAt
}
