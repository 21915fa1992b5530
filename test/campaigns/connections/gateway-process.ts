/**
 * The gateway as a process on the simulator, with a database in its own folder. A restart uses the same folder and
 * another port.
 * Invariant: the process ends only when the campaign stops or kills it, and logs no error.
 */
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { SeededRandom } from '../../../src/simulator/seeded-random.ts'
import { openSimulatorStore } from '../../../src/simulator/simulator-store.ts'
import { type App, createApp } from '../../support/app.ts'
import { freePort } from '../../support/port.ts'
import { type Run, run } from '../../support/process.ts'

export interface GatewayProcess extends AsyncDisposable {
  readonly port: number
  readonly databaseFile: string
  /** The app that the first start created. */
  readonly demoApp: App
  /** An image that the gateway can fetch. */
  readonly imageUrl: string
  /** The first breach of the invariant; null without one. */
  readonly breach: string | null
  createApp(name: string): Promise<App>
  stop(signal: 'SIGKILL' | 'SIGTERM'): Promise<void>
  /** Starts again on the same folder. */
  restart(): Promise<void>
}

const ENV = {
  PORT: '0',
  LOG_LEVEL: 'error',
  POLL_MIN_INTERVAL_MS: '100',
  POLL_MAX_INTERVAL_MS: '200',
  // A POST that a kill cut off is resolved within the run.
  UPSTREAM_SUBMIT_TIMEOUT_MS: '1000',
  UPSTREAM_UNKNOWN_MS: '1000',
}
/** The gateway promises to stop within 5 s. */
const STOP_TIMEOUT_MS = 10_000

export async function startGatewayProcess(folder: string, random: SeededRandom): Promise<GatewayProcess> {
  const simulatorPort = await reserveSimulatorPort(folder, random)
  const databaseFile = join(folder, 'data', 'rushes.db')
  const breaches: string[] = []
  let { gateway, port } = await start(folder)
  let stoppingProcess: Run | null = null
  const [, key] = await gateway.untilPrinted(/Key +(rsh_\S+)/)

  function watchExit(gateway: Run): void {
    gateway.untilEnded().then(({ code, signal }) => {
      if (gateway !== stoppingProcess)
        breaches.push(`the gateway ended by itself with ${code ?? signal}: ${gateway.err}`)
      else if (gateway.err !== '') breaches.push(`the gateway logged: ${gateway.err}`)
    })
  }
  watchExit(gateway)

  return {
    get port() {
      return port
    },
    databaseFile,
    demoApp: { name: 'demo', key: key! },
    imageUrl: `http://127.0.0.1:${simulatorPort}/files/sample.jpg`,
    get breach() {
      return breaches[0] ?? null
    },

    createApp: name => createApp(databaseFile, name),

    async stop(signal) {
      stoppingProcess = gateway
      gateway.child.kill(signal)
      const stopTimer = setTimeout(() => {
        breaches.push(`the gateway did not end within ${STOP_TIMEOUT_MS} ms of ${signal}`)
        gateway.child.kill('SIGKILL')
      }, STOP_TIMEOUT_MS)
      const { code } = await gateway.untilEnded()
      clearTimeout(stopTimer)
      if (signal === 'SIGTERM' && code !== 0) breaches.push(`after SIGTERM the gateway ended with ${code}`)
    },

    async restart() {
      ;({ gateway, port } = await start(folder))
      watchExit(gateway)
    },

    async [Symbol.asyncDispose]() {
      stoppingProcess = gateway
      await gateway[Symbol.asyncDispose]()
    },
  }
}

async function start(folder: string): Promise<{ gateway: Run; port: number }> {
  const gateway = run('start.js', folder, ENV)
  try {
    return { gateway, port: await readPort(gateway) }
  } catch (error) {
    await gateway[Symbol.asyncDispose]()
    throw error
  }
}

async function readPort(gateway: Run): Promise<number> {
  const exited = gateway.untilEnded().then(() => {
    throw new Error(`the gateway did not start: ${gateway.err.trim()}`)
  })
  const [, port] = await Promise.race([gateway.untilPrinted(/GraphQL +http:\S+:(\d+)\//), exited])
  return Number(port)
}

/** Reserves a port for the simulator, which keeps the port of its first start. */
async function reserveSimulatorPort(folder: string, random: SeededRandom): Promise<number> {
  await mkdir(join(folder, 'data'))
  const simulatorStore = openSimulatorStore(join(folder, 'data', 'simulator.db'))
  const port = await freePort(random)
  simulatorStore.savePort(port)
  simulatorStore.close()
  return port
}
