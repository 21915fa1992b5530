/**
 * Limit of the bytes of large answers that clients do not read. One answer is bounded; many that are not read would fill
 * the memory.
 * Invariant: after each check the large answers that wait to be sent take at most MAX_UNSENT_BYTES. The connections with
 * the largest are ended first, so a client that reads is ended last.
 */
import type { Socket } from 'node:net'

export interface UnsentAnswers {
  /** Watches the socket until it is closed. */
  add(socket: WatchedSocket): void
  close(): void
}

type WatchedSocket = Pick<Socket, 'writableLength' | 'destroy' | 'once'>

/** Six answers of the largest size. */
const MAX_UNSENT_BYTES = 32 * 1024 * 1024
/** A subscription leaves less unsent: it waits for its client from 256 KiB on. */
const MIN_LARGE_BYTES = 512 * 1024
/** In this time a process serialises some 40 MB. A check of 20,000 sockets takes 0.5 ms. */
const CHECK_INTERVAL_MS = 200

export function createUnsentAnswers(log: { warn(fields: object, message: string): void }): UnsentAnswers {
  const sockets = new Set<WatchedSocket>()

  function endLargest(): void {
    const large: WatchedSocket[] = []
    let unsentBytes = 0
    for (const socket of sockets) {
      if (socket.writableLength < MIN_LARGE_BYTES) continue
      large.push(socket)
      unsentBytes += socket.writableLength
    }
    if (unsentBytes <= MAX_UNSENT_BYTES) return
    large.sort((a, b) => b.writableLength - a.writableLength)
    let ended = 0
    for (const socket of large) {
      if (unsentBytes <= MAX_UNSENT_BYTES) break
      unsentBytes -= socket.writableLength
      socket.destroy()
      ended++
    }
    log.warn({ connections: ended }, 'connections that did not read their answers were ended')
  }

  const timer = setInterval(endLargest, CHECK_INTERVAL_MS)
  timer.unref()

  return {
    add(socket) {
      sockets.add(socket)
      socket.once('close', () => sockets.delete(socket))
    },
    close: () => clearInterval(timer),
  }
}
