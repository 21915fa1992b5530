/**
 * Pings every peer, and ends the dead. Dead: for two intervals it has neither sent a byte nor taken one of those that wait
 * for it. One that is merely slow takes some; one that has nothing waiting and owes no answer is not asked for more.
 */
import type { Socket } from 'node:net'

export interface Pulsing {
  readonly socket: Socket
  ping(): void
  /** Whether it answers a ping. */
  readonly answers: boolean
}

export interface Heartbeat {
  watch(peer: Pulsing): void
  unwatch(peer: Pulsing): void
  close(): void
}

/** Graphql-ws's own default, and below what proxies cut a silent connection after. */
const INTERVAL_MS = 12_000
const MOST_MISSED = 2
/** Peers between two looks at other work. */
const GRAIN = 100

/** As of the last look. */
interface Pulse extends Waiting {
  received: number
  missed: number
}

interface Waiting {
  /** Bytes whose write is over. */
  over: number
  /** Bytes of the write under way that the kernel has not taken yet. */
  queued: number
  /** Bytes in all. */
  length: number
}

export function createHeartbeat(intervalMs = INTERVAL_MS): Heartbeat {
  const pulses = new Map<Pulsing, Pulse>()
  let beating = false

  async function beat(): Promise<void> {
    if (beating) return
    beating = true
    let count = 0
    for (const [peer, pulse] of pulses) {
      if (++count % GRAIN === 0) await new Promise(setImmediate)
      look(peer, pulse)
    }
    beating = false
  }

  function look(peer: Pulsing, pulse: Pulse): void {
    const { socket } = peer
    const now = waitingFor(socket)
    const took = pulse.length > 0 && (now.over > pulse.over || now.queued < pulse.queued)
    const owes = peer.answers || now.length > 0
    const lives = socket.bytesRead > pulse.received || took || !owes
    Object.assign(pulse, now, { received: socket.bytesRead, missed: lives ? 0 : pulse.missed + 1 })
    if (pulse.missed < MOST_MISSED) peer.ping()
    else socket.destroy()
  }

  const timer = setInterval(beat, intervalMs)
  timer.unref()

  return {
    watch: peer =>
      void pulses.set(peer, { received: peer.socket.bytesRead, missed: 0, ...waitingFor(peer.socket) }),
    unwatch: peer => void pulses.delete(peer),
    close: () => clearInterval(timer),
  }
}

/** Node itself knows whole writes only, and the last one may take a slow peer minutes: its handle knows bytes. */
function waitingFor(socket: Socket): Waiting {
  const { bytesWritten, writableLength: length } = socket
  const { _handle: handle } = socket as Socket & { _handle?: { writeQueueSize: number } | null }
  return { over: bytesWritten - length, queued: handle?.writeQueueSize ?? 0, length }
}
