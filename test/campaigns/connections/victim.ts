/**
 * The gateway as an operator runs it: `src/start.js`, a process, on the simulator, with a database in a folder of its own.
 * Killed and started again it is the same gateway; only its port is another each time, as behind any network.
 * Invariant: it ends when it is told to and never by itself, and it logs no error.
 */
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Random } from '../../../src/simulator/seeded-random.ts'
import { openLedger } from '../../../src/simulator/simulator-store.ts'
import { type App, createApp } from '../../support/app.ts'
import { freePort } from '../../support/port.ts'
import { type Run, run } from '../../support/process.ts'

export interface Victim extends AsyncDisposable {
  readonly port: number
  readonly database: string
  /** The app of the first start. */
  readonly demo: App
  /** An image that the gateway can fetch. */
  readonly image: string
  /** What it did that it must not. */
  readonly wrong: string | null
  createApp(name: string): Promise<App>
  end(signal: 'SIGKILL' | 'SIGTERM'): Promise<void>
  /** Once more, on the same folder. */
  start(): Promise<void>
}

const ENV = {
  PORT: '0',
  LOG_LEVEL: 'error',
  POLL_MIN_INTERVAL_MS: '100',
  POLL_MAX_INTERVAL_MS: '200',
  // A POST that a kill cut off is settled while the run can still see it.
  UPSTREAM_SUBMIT_TIMEOUT_MS: '1000',
  UPSTREAM_UNKNOWN_MS: '1000',
}
/** It promises five seconds. */
const END_MS = 10_000

export async function createVictim(folder: string, random: Random): Promise<Victim> {
  const simulator = await keepSimulatorPort(folder, random)
  const database = join(folder, 'data', 'rushes.db')
  const wrong: string[] = []
  let { gateway, port } = await start(folder)
  let ending: Run | null = null
  const [, key] = await gateway.printed(/Key +(rsh_\S+)/)

  function mind(gateway: Run): void {
    gateway.ended().then(({ code, signal }) => {
      if (gateway !== ending) wrong.push(`the gateway ended by itself with ${code ?? signal}: ${gateway.err}`)
      else if (gateway.err !== '') wrong.push(`the gateway logged: ${gateway.err}`)
    })
  }
  mind(gateway)

  return {
    get port() {
      return port
    },
    database,
    demo: { name: 'demo', key: key! },
    image: `http://127.0.0.1:${simulator}/files/sample.jpg`,
    get wrong() {
      return wrong[0] ?? null
    },

    createApp: name => createApp(database, name),

    async end(signal) {
      ending = gateway
      gateway.child.kill(signal)
      const late = setTimeout(() => {
        wrong.push(`the gateway did not end within ${END_MS} ms of ${signal}`)
        gateway.child.kill('SIGKILL')
      }, END_MS)
      const { code } = await gateway.ended()
      clearTimeout(late)
      if (signal === 'SIGTERM' && code !== 0) wrong.push(`after SIGTERM the gateway ended with ${code}`)
    },

    async start() {
      ;({ gateway, port } = await start(folder))
      mind(gateway)
    },

    async [Symbol.asyncDispose]() {
      ending = gateway
      await gateway[Symbol.asyncDispose]()
    },
  }
}

async function start(folder: string): Promise<{ gateway: Run; port: number }> {
  const gateway = run('start.js', folder, ENV)
  try {
    return { gateway, port: await listening(gateway) }
  } catch (error) {
    await gateway[Symbol.asyncDispose]()
    throw error
  }
}

async function listening(gateway: Run): Promise<number> {
  const failed = gateway.ended().then(() => {
    throw new Error(`the gateway did not start: ${gateway.err.trim()}`)
  })
  const [, port] = await Promise.race([gateway.printed(/GraphQL +http:\S+:(\d+)\//), failed])
  return Number(port)
}

/** The simulator comes back on the port of its first start. */
async function keepSimulatorPort(folder: string, random: Random): Promise<number> {
  await mkdir(join(folder, 'data'))
  const ledger = openLedger(join(folder, 'data', 'simulator.db'))
  const port = await freePort(random)
  ledger.keepPort(port)
  ledger.close()
  return port
}
