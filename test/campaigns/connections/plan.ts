/**
 * Sizes of the connections campaign: short for `npm test`, long for `npm run chaos`.
 */
import type { Transport } from './subscriber-pool.ts'

export interface Plan {
  initialTransports: readonly Transport[]
  /** Subscribers that join during the fault phase, after the first cursor of the app's first subscriber. */
  lateTransports: readonly Transport[]
  /** Delay before each of them. */
  lateJoinDelayMs: readonly [number, number]
  /** Concurrent network faults. */
  concurrentFaults: number
  pauseMs: readonly [number, number]
  /** Number of stops by signal, drawn in random order. */
  restarts: Readonly<Record<'SIGKILL' | 'SIGTERM', number>>
  /** Time from a start to the next stop. */
  uptimeMs: readonly [number, number]
  /** The fault phase lasts until this many reconnects and all restarts. */
  minReconnects: number
  /** A longer fault phase ends and fails the run. */
  maxDurationMs: number
}

export const totalRestarts = ({ restarts }: Plan): number => restarts.SIGKILL + restarts.SIGTERM

const repeat = (count: number, transport: Transport): Transport[] =>
  Array.from({ length: count }, () => transport)

export const SHORT: Plan = {
  initialTransports: [...repeat(6, 'WebSocket'), ...repeat(2, 'SSE'), 'WebSocket', 'SSE'],
  lateTransports: ['WebSocket', 'SSE'],
  lateJoinDelayMs: [200, 2000],
  concurrentFaults: 10,
  pauseMs: [50, 1500],
  restarts: { SIGKILL: 2, SIGTERM: 1 },
  uptimeMs: [200, 800],
  minReconnects: 30,
  maxDurationMs: 60_000,
}

export const LONG: Plan = {
  initialTransports: [...repeat(12, 'WebSocket'), ...repeat(4, 'SSE'), 'WebSocket', 'SSE'],
  lateTransports: [...repeat(4, 'WebSocket'), ...repeat(2, 'SSE')],
  lateJoinDelayMs: [500, 15_000],
  concurrentFaults: 20,
  pauseMs: [50, 8000],
  restarts: { SIGKILL: 15, SIGTERM: 5 },
  uptimeMs: [500, 5000],
  minReconnects: 1050,
  maxDurationMs: 170_000,
}
