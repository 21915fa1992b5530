/**
 * Pings every connection, and destroys dead ones. A connection is dead if in two intervals it has neither
 * sent a byte nor accepted one of its pending bytes. A slow client accepts some. A connection without pending
 * bytes that does not answer pings (an event stream) is never dead.
 */
import type { Socket } from 'node:net'

export interface KeepAliveTarget {
  readonly socket: Socket
  ping(): void
  /** Whether the client answers a ping. */
  readonly respondsToPing: boolean
}

export interface KeepAlive {
  close(): void
}

/** graphql-ws's own default, and less than the idle time-out of proxies. */
const INTERVAL_MS = 12_000
const MAX_MISSED_PINGS = 2
/** Connections that are checked in one iteration of the event loop. */
const TARGETS_PER_PASS = 100

/** State at the last check. */
interface LivenessSample extends WriteBacklog {
  bytesReceived: number
  missedPings: number
}

interface WriteBacklog {
  /** Bytes whose write is complete. */
  flushedBytes: number
  /** Bytes of the current write that the kernel has not accepted yet. */
  kernelPendingBytes: number
  /** All pending bytes. */
  bufferedBytes: number
}

/** @param targets the open connections */
export function createKeepAlive(
  targets: () => Iterable<KeepAliveTarget>,
  intervalMs = INTERVAL_MS,
): KeepAlive {
  const samples = new WeakMap<KeepAliveTarget, LivenessSample>()
  let isChecking = false

  async function checkAll(): Promise<void> {
    if (isChecking) return
    isChecking = true
    let count = 0
    for (const target of targets()) {
      if (++count % TARGETS_PER_PASS === 0) await new Promise(setImmediate)
      check(target)
    }
    isChecking = false
  }

  function check(target: KeepAliveTarget): void {
    const { socket } = target
    const backlog = measureBacklog(socket)
    const sample = samples.get(target) ?? { ...backlog, bytesReceived: 0, missedPings: 0 }
    samples.set(target, sample)
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
    close: () => clearInterval(timer),
  }
}

/**
 * Node counts whole writes only, and the last one may take a slow client minutes. The socket's handle counts
 * bytes.
 */
function measureBacklog(socket: Socket): WriteBacklog {
  const { bytesWritten, writableLength: bufferedBytes } = socket
  const { _handle: handle } = socket as Socket & { _handle?: { writeQueueSize: number } | null }
  return {
    flushedBytes: bytesWritten - bufferedBytes,
    kernelPendingBytes: handle?.writeQueueSize ?? 0,
    bufferedBytes,
  }
}
