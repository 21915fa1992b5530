/**
 * How much chaos: a short form for `npm test`, a long one for `npm run chaos`.
 */
import type { Transport } from './crowd.ts'

export interface Plan {
  early: readonly Transport[]
  /** They join while it storms, behind the first cursor of the app's first client. */
  late: readonly Transport[]
  /** Before each of them. */
  lateMs: readonly [number, number]
  /** How many break the network at once. */
  hands: number
  stallMs: readonly [number, number]
  /** In an order drawn from the seed. */
  restarts: Readonly<Record<'SIGKILL' | 'SIGTERM', number>>
  /** From a start to the next end. */
  aliveMs: readonly [number, number]
  /** It storms until clients came back so many times, and all restarts are done. */
  reconnects: number
  /** A storm that takes longer ends, and fails the run. */
  mostMs: number
}

export const restartsOf = ({ restarts }: Plan): number => restarts.SIGKILL + restarts.SIGTERM

const times = (count: number, over: Transport): Transport[] => Array.from({ length: count }, () => over)

export const SHORT: Plan = {
  early: [...times(6, 'WebSocket'), ...times(2, 'SSE'), 'WebSocket', 'SSE'],
  late: ['WebSocket', 'SSE'],
  lateMs: [200, 2000],
  hands: 10,
  stallMs: [50, 1500],
  restarts: { SIGKILL: 2, SIGTERM: 1 },
  aliveMs: [200, 800],
  reconnects: 30,
  mostMs: 60_000,
}

export const LONG: Plan = {
  early: [...times(12, 'WebSocket'), ...times(4, 'SSE'), 'WebSocket', 'SSE'],
  late: [...times(4, 'WebSocket'), ...times(2, 'SSE')],
  lateMs: [500, 15_000],
  hands: 20,
  stallMs: [50, 8000],
  restarts: { SIGKILL: 15, SIGTERM: 5 },
  aliveMs: [500, 5000],
  reconnects: 1050,
  mostMs: 170_000,
}
