/**
 * The process of the gateway: whole, as deployed, on a database file. It measures its own CPU.
 */
import { join } from 'node:path'
import { setTimeout as pause, setImmediate as turn } from 'node:timers/promises'
import { loadConfig } from '../../../src/config/config.ts'
import type { AppId, Draft } from '../../../src/domain/prediction.ts'
import { createGateway, type Gateway } from '../../../src/gateway/gateway.ts'
import { serveCommands } from '../process-rpc.ts'
import { createDelayMonitor } from './event-loop-delay.ts'
import { seed } from './seed.ts'

const [, , folder = '', origin = ''] = process.argv
const file = join(folder, 'bench.db')
const delayMonitor = createDelayMonitor()
let lastLap = { at: performance.now(), cpu: process.cpuUsage() }
let starting: Promise<{ gateway: Gateway; appId: AppId }> | undefined

async function start(pollIntervalMs: number) {
  const config = loadConfig({
    PORT: '0',
    DATABASE_URL: `file:${file}`,
    LOG_LEVEL: 'silent',
    WAVESPEED_API_KEY: 'bench',
    WAVESPEED_BASE_URL: origin,
    UPSTREAM_CONCURRENCY: '20000',
    UPSTREAM_SUBMITS_PER_MINUTE: '20000',
    POLL_MIN_INTERVAL_MS: String(pollIntervalMs),
    POLL_MAX_INTERVAL_MS: String(pollIntervalMs),
    ALLOW_PRIVATE_IMAGE_HOSTS: '1',
  })
  const silent = () => {}
  const log = { debug: silent, info: silent, warn: silent, error: silent }
  const gateway = await createGateway(config, log)
  const app = await gateway.store.createApp('bench', Date.now())
  return { gateway, appId: app!.id }
}

const commands = {
  /** Polls each job every `pollIntervalMs`. */
  async start(pollIntervalMs: number) {
    starting = start(pollIntervalMs)
    await starting
  },

  async seed(rows: number, inFlight: number, pollIntervalMs: number) {
    const { appId } = await starting!
    seed(file, draft(appId), rows, inFlight, pollIntervalMs)
  },

  /** Creates jobs one by one, with a pause of `gapMs` between two. */
  async create(count: number, gapMs: number) {
    const { gateway, appId } = await starting!
    for (let i = 0; i < count; i++) {
      await gateway.store.create(draft(appId), null, Date.now())
      await pause(gapMs)
    }
  },

  tally: async () => (await starting!).gateway.store.countByState(),

  /** Time since the last call, and CPU of the whole process, in ms. */
  lap() {
    const at = performance.now()
    const cpu = process.cpuUsage()
    const { user, system } = process.cpuUsage(lastLap.cpu)
    const ms = at - lastLap.at
    lastLap = { at, cpu }
    return { ms, cpu: (user + system) / 1000 }
  },

  /** Event-loop delay since the last call, p99, ms. */
  eventLoopDelay: () => delayMonitor.takeP99(),

  /** Bytes, after garbage collection. */
  async memory() {
    for (let i = 0; i < 3; i++) {
      await global.gc!({ type: 'major', execution: 'sync', flavor: 'last-resort' })
      await turn()
    }
    const { rss, heapUsed } = process.memoryUsage()
    return { rss, heap: heapUsed }
  },
}

const draft = (appId: AppId): Draft & { cost: number } => ({
  appId,
  model: 'WAN_2_2_I2V_PLUS_1080P',
  input: {
    imageUrl: `${origin}/image.png`,
    prompt: 'a slow pan over the harbour',
    negativePrompt: null,
    duration: 5,
    enablePromptExpansion: false,
    seed: -1,
  },
  tags: ['bench'],
  metadata: null,
  retryOf: null,
  uploadId: null,
  restrictionKey: '',
  tokenId: null,
  cost: 800_000,
})

export type GatewayCommands = typeof commands
serveCommands(commands)
