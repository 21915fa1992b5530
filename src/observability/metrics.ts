/**
 * Prometheus metrics of the process. They are readable from loopback, and with METRICS_TOKEN as bearer.
 * Invariant: a request that came through a proxy never counts as loopback.
 */
import { timingSafeEqual } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { collectDefaultMetrics, Gauge, Registry } from 'prom-client'
import { coversAllJobs } from '../domain/hold.ts'
import { CIRCUIT_REASONS } from '../domain/submit-circuit.ts'
import { type AppMetrics, type AppMetricsOptions, createAppMetrics } from './app-metrics.ts'
import { withRenamedMetrics } from './renamed-metrics.ts'

export interface Metrics
  extends Pick<
    AppMetrics,
    'countRejection' | 'countInvalidCredential' | 'observeQueueWait' | 'trackSubscriptions'
  > {
  /** Adds the gauge of the poll circuit. Called once: the part that has the circuit is built later. */
  trackPollCircuit(isPollCircuitClosed: () => boolean): void
  mayRead(request: IncomingMessage): boolean
  respond(request: IncomingMessage, response: ServerResponse): Promise<void>
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
  metricsToken: string | null
  /** Max jobs in flight; null: no limit. */
  upstreamConcurrency: number | null
}

export function createMetrics(options: MetricsOptions): Metrics {
  const { metricsToken, store, upstreamConcurrency } = options
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })
  const registers = [registry]
  const appMetrics = createAppMetrics(registry, options)

  new Gauge({
    name: 'rushes_predictions',
    help: 'Predictions that are still tracked: queued, held (queued ones that an operator holds), submitting (POST begun), in_flight, expired (past the deadline), unresolved (POST without an answer).',
    labelNames: ['state'],
    registers,
    async collect() {
      const { queued, held, submitting, inFlight, expired, unresolved } = await store.countByState()
      const states = { queued, held, submitting, in_flight: inFlight, expired, unresolved }
      for (const [state, count] of Object.entries(states)) this.set({ state }, count)
    },
  })
  new Gauge({
    name: 'rushes_submits_held',
    help: '1 while an operator holds all submits.',
    registers,
    async collect() {
      this.set((await store.listHolds()).some(coversAllJobs) ? 1 : 0)
    },
  })
  new Gauge({
    name: 'rushes_submit_circuit_open',
    help: '1 for the reason why nothing is submitted.',
    labelNames: ['reason'],
    registers,
    async collect() {
      const circuit = await store.submitCircuit()
      const openReason = circuit === null || circuit.halfOpen ? null : circuit.reason
      for (const reason of CIRCUIT_REASONS) this.set({ reason }, openReason === reason ? 1 : 0)
    },
  })
  new Gauge({
    name: 'rushes_submit_circuit_half_open',
    help: '1 while one submit at a time is sent, after the circuit was open and until upstream answers one.',
    registers,
    async collect() {
      this.set((await store.submitCircuit())?.halfOpen ? 1 : 0)
    },
  })
  new Gauge({
    name: 'rushes_concurrency_limit',
    help: 'Maximum jobs in flight: as configured, or lower while upstream throttles; +Inf is no limit.',
    registers,
    async collect() {
      this.set(
        Math.min(upstreamConcurrency ?? Infinity, (await store.concurrencyLimit())?.concurrency ?? Infinity),
      )
    },
  })

  const mayRead = (request: IncomingMessage) => isLocal(request) || hasToken(request, metricsToken)

  return {
    mayRead,
    async respond(request, response) {
      if (!mayRead(request))
        return void response
          .writeHead(403, { 'content-type': 'text/plain' })
          .end('/metrics: loopback, or METRICS_TOKEN\n')
      response
        .writeHead(200, { 'content-type': registry.contentType })
        .end(withRenamedMetrics(await registry.metrics()))
    },
    countRejection: appMetrics.countRejection,
    countInvalidCredential: appMetrics.countInvalidCredential,
    observeQueueWait: appMetrics.observeQueueWait,
    trackSubscriptions: appMetrics.trackSubscriptions,
    trackPollCircuit(isPollCircuitClosed) {
      new Gauge({
        name: 'rushes_poll_circuit_open',
        help: '1 while upstream cannot be read, and one job at a time is polled.',
        registers,
        collect() {
          this.set(isPollCircuitClosed() ? 0 : 1)
        },
      })
    },
    close() {
      appMetrics.close()
      registry.clear()
    },
  }
}

const isLocal = ({ socket, headers }: IncomingMessage): boolean =>
  LOOPBACK.test(socket.remoteAddress ?? '') &&
  // DNS rebinding: a web page whose host name resolves to loopback would call from loopback, too.
  LOCAL_HOST.test(headers.host ?? '') &&
  headers.origin === undefined &&
  PROXY_HEADERS.every(name => headers[name] === undefined)

function hasToken({ headers }: IncomingMessage, metricsToken: string | null): boolean {
  if (metricsToken === null) return false
  const presented = Buffer.from(headers.authorization ?? '')
  const expected = Buffer.from(`Bearer ${metricsToken}`)
  return presented.length === expected.length && timingSafeEqual(presented, expected)
}
