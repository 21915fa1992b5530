/**
 * Prometheus metrics of the process. They are readable from loopback, and with METRICS_TOKEN as bearer.
 * Invariant: a request that came through a proxy never counts as loopback.
 */
import { timingSafeEqual } from 'node:crypto'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import { promisify } from 'node:util'
import { Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client'
import { coversAllJobs } from '../domain/hold.ts'
import { CIRCUIT_REASONS } from '../domain/submit-circuit.ts'
import { MINUTE_MS } from '../domain/time.ts'
import { type AppMetrics, type AppMetricsOptions, createAppMetrics } from './app-metrics.ts'
import type { Log } from './log.ts'
import { withRenamedMetrics } from './renamed-metrics.ts'

export interface Metrics
  extends Pick<
    AppMetrics,
    'countRejection' | 'countInvalidCredential' | 'observeQueueWait' | 'trackSubscriptions'
  > {
  /** Adds the gauge of the poll circuit. Called once: the part that has the circuit is built later. */
  trackPollCircuit(isPollCircuitClosed: () => boolean): void
  /** Adds the metrics of the server's sockets. Called once: the server is built later. */
  trackConnections(maxConnections: number, server: Server): void
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
  log: Pick<Log, 'info' | 'warn'>
}

export function createMetrics(options: MetricsOptions): Metrics {
  const { metricsToken, store, upstreamConcurrency, log } = options
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
    trackConnections(maxConnections, server) {
      new Gauge({
        name: 'rushes_max_connections',
        help: 'Max open sockets: MAX_CONNECTIONS, or less if the process may not open so many files.',
        registers,
      }).set(maxConnections)
      const countConnections = promisify(server.getConnections.bind(server))
      new Gauge({
        name: 'rushes_connections',
        help: 'Open sockets.',
        registers,
        async collect() {
          this.set(await countConnections())
        },
      })
      const dropped = new Counter({
        name: 'rushes_dropped_connections_total',
        help: 'Sockets that were closed at once, because rushes_max_connections were open.',
        registers,
      })
      let loggedAt = -MINUTE_MS
      server.on('drop', () => {
        dropped.inc()
        if (performance.now() - loggedAt < MINUTE_MS) return
        loggedAt = performance.now()
        log.warn({ maxConnections }, 'new connections are closed at once: as many are open as may be')
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
