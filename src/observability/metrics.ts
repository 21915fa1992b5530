/**
 * The process's own figures, for a scraper on this machine or one that knows the token.
 * Invariant: a request that came through a proxy is never taken for loopback.
 */
import { timingSafeEqual } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { collectDefaultMetrics, Gauge, Registry } from 'prom-client'
import { PAUSES } from '../domain/submit-circuit.ts'
import { type AppMetrics, type AppMetricsOptions, createAppMetrics } from './app-metrics.ts'

export interface Metrics extends Pick<AppMetrics, 'refused' | 'guessed' | 'submitted'> {
  mayRead(request: IncomingMessage): boolean
  answer(request: IncomingMessage, response: ServerResponse): Promise<void>
  close(): void
}

const LOOPBACK = /^(127\.\d+\.\d+\.\d+|::1|::ffff:127\.\d+\.\d+\.\d+)$/
const LOCAL_HOST = /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?$/
const PROXY_HEADERS = [
  'x-forwarded-for',
  'x-forwarded-host',
  'x-forwarded-proto',
  'x-real-ip',
  'forwarded',
  'via',
]

export interface MetricsOptions extends AppMetricsOptions {
  token: string | null
  /** Jobs at once; null is no limit. */
  concurrency: number | null
  /** Whether looks at upstream go well. */
  reads: () => boolean
}

export function createMetrics(options: MetricsOptions): Metrics {
  const { token, store, concurrency, reads } = options
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })
  const registers = [registry]
  const apps = createAppMetrics(registry, options)

  new Gauge({
    name: 'rushes_predictions',
    help: 'Predictions that are not at their end, by what they wait for.',
    labelNames: ['state'],
    registers,
    async collect() {
      const { waiting, begun, inFlight, late, sought } = await store.tally()
      const states = { waiting, begun, in_flight: inFlight, late, sought }
      for (const [state, count] of Object.entries(states)) this.set({ state }, count)
    },
  })
  new Gauge({
    name: 'rushes_submits_paused',
    help: '1 for the reason that holds all submits back.',
    labelNames: ['reason'],
    registers,
    async collect() {
      const pause = await store.paused()
      const held = pause === null || pause.trial ? null : pause.reason
      for (const reason of PAUSES) this.set({ reason }, held === reason ? 1 : 0)
    },
  })
  new Gauge({
    name: 'rushes_submits_on_trial',
    help: '1 after a pause, while one submit at a time is tried, until one was answered.',
    registers,
    async collect() {
      this.set((await store.paused())?.trial ? 1 : 0)
    },
  })
  new Gauge({
    name: 'rushes_concurrency',
    help: 'Jobs upstream may have at once: as configured, or fewer while it wants fewer; +Inf is no limit.',
    registers,
    async collect() {
      this.set(Math.min(concurrency ?? Infinity, (await store.pace())?.concurrency ?? Infinity))
    },
  })
  new Gauge({
    name: 'rushes_reads_failing',
    help: '1 while upstream can not be read, and one job is looked at at a time.',
    registers,
    collect() {
      this.set(reads() ? 0 : 1)
    },
  })

  const mayRead = (request: IncomingMessage) => isLocal(request) || hasToken(request, token)

  return {
    mayRead,
    async answer(request, response) {
      if (!mayRead(request))
        return void response
          .writeHead(403, { 'content-type': 'text/plain' })
          .end('/metrics: loopback, or METRICS_TOKEN\n')
      response.writeHead(200, { 'content-type': registry.contentType }).end(await registry.metrics())
    },
    refused: apps.refused,
    guessed: apps.guessed,
    submitted: apps.submitted,
    close() {
      apps.close()
      registry.clear()
    },
  }
}

const isLocal = ({ socket, headers }: IncomingMessage): boolean =>
  LOOPBACK.test(socket.remoteAddress ?? '') &&
  // A page that had its own name lead here would call from loopback, too.
  LOCAL_HOST.test(headers.host ?? '') &&
  headers.origin === undefined &&
  PROXY_HEADERS.every(name => headers[name] === undefined)

function hasToken({ headers }: IncomingMessage, token: string | null): boolean {
  if (token === null) return false
  const given = Buffer.from(headers.authorization ?? '')
  const wanted = Buffer.from(`Bearer ${token}`)
  return given.length === wanted.length && timingSafeEqual(given, wanted)
}
