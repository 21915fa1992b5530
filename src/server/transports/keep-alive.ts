/**
 * Pings every peer, and ends the dead. Dead: for two intervals it has neither sent a byte nor taken one of those that wait
 * for it. One that is merely slow takes some; one that has nothing waiting and owes no answer is not asked for more.
 */
import type { Socket } from 'node:net'

export interface KeepAliveTarget {
  readonly socket: Socket
  ping(): void
  /** Whether it answers a ping. */
  readonly respondsToPing: boolean
}

export interface KeepAlive {
  watch(target: KeepAliveTarget): void
  unwatch(target: KeepAliveTarget): void
  close(): void
}

/** Graphql-ws's own default, and below what proxies cut a silent connection after. */
const INTERVAL_MS = 12_000
const MAX_MISSED_PINGS = 2
/** Peers between two looks at other work. */
const TARGETS_PER_PASS = 100

/** As of the last look. */
interface LivenessSample extends WriteBacklog {
  bytesReceived: number
  missedPings: number
}

interface WriteBacklog {
  /** Bytes whose write is over. */
  flushedBytes: number
  /** Bytes of the write under way that the kernel has not taken yet. */
  kernelPendingBytes: number
  /** Bytes in all. */
  bufferedBytes: number
}

export function createKeepAlive(intervalMs = INTERVAL_MS): KeepAlive {
  const samples = new Map<KeepAliveTarget, LivenessSample>()
  let isChecking = false

  async function checkAll(): Promise<void> {
    if (isChecking) return
    isChecking = true
    let count = 0
    for (const [target, sample] of samples) {
      if (++count % TARGETS_PER_PASS === 0) await new Promise(setImmediate)
      check(target, sample)
    }
    isChecking = false
  }

  function check(target: KeepAliveTarget, sample: LivenessSample): void {
    const { socket } = target
    const backlog = measureBacklog(socket)
    const hasWritten =
      sample.bufferedBytes > 0 &&
      (backlog.flushedBytes > sample.flushedBytes || backlog.kernelPendingBytes < sample.kernelPendingBytes)
    const isActivityExpected = target.respondsToPing || backlog.bufferedBytes > 0
    const isAlive = socket.bytesRead > sample.bytesReceived || hasWritten || !isActivityExpected
    Object.assign(sample, backlog, {
      bytesReceived: socket.bytesRead,
      missedPings: isAlive ? 0 : sample.missedPings + 1,
    })
    if (sample.missedPings < MAX_MISSED_PINGS) target.ping()
    else socket.destroy()
  }

  const timer = setInterval(checkAll, intervalMs)
  timer.unref()

  return {
    watch: target =>
      void samples.set(target, {
        bytesReceived: target.socket.bytesRead,
        missedPings: 0,
        ...measureBacklog(target.socket),
      }),
    unwatch: target => void samples.delete(target),
    close: () => clearInterval(timer),
  }
}

/** Node itself knows whole writes only, and the last one may take a slow peer minutes: its handle knows bytes. */
function measureBacklog(socket: Socket): WriteBacklog {
  const { bytesWritten, writableLength: bufferedBytes } = socket
  const { _handle: handle } = socket as Socket & { _handle?: { writeQueueSize: number } | null }
  return {
    flushedBytes: bytesWritten - bufferedBytes,
    kernelPendingBytes: handle?.writeQueueSize ?? 0,
    bufferedBytes,
  }
}
