/**
 * Counting semaphore of the upload bodies in memory: a total, a maximum per app, and slots reserved for apps
 * that hold none. An upload without a slot waits before its body is read.
 * Invariant: an app that holds no slot gets one while a reserved slot is free, however slow the uploads of
 * other apps are.
 */
import { once } from 'node:events'
import type { AppId } from '../../domain/prediction.ts'

export interface UploadSlots {
  /** Resolves with an idempotent function that releases the slot. Rejects once `signal` aborts. */
  acquire(app: AppId, signal: AbortSignal): Promise<() => void>
}

export interface UploadSlotsOptions {
  /** Max slots. */
  total: number
  /** Max slots per app. */
  perApp: number
  /** Slots that only an app without a slot may take. */
  reserved: number
}

/** A body has at most 25 MB. */
const DEFAULT_SLOTS: UploadSlotsOptions = { total: 8, perApp: 2, reserved: 4 }

export function createUploadSlots({
  total,
  perApp,
  reserved,
}: UploadSlotsOptions = DEFAULT_SLOTS): UploadSlots {
  const heldByApp = new Map<AppId, number>()
  const waiters = new Set<{ app: AppId; grant: () => void }>()
  let takenSlots = 0

  const hasFreeSlot = (app: AppId): boolean => {
    const held = heldByApp.get(app) ?? 0
    return held === 0 ? takenSlots < total : held < perApp && takenSlots < total - reserved
  }

  function takeSlot(app: AppId): () => void {
    takenSlots++
    heldByApp.set(app, (heldByApp.get(app) ?? 0) + 1)
    let isHeld = true
    return () => {
      if (!isHeld) return
      isHeld = false
      takenSlots--
      const left = heldByApp.get(app)! - 1
      if (left > 0) heldByApp.set(app, left)
      else heldByApp.delete(app)
      for (const waiter of waiters) if (hasFreeSlot(waiter.app)) waiter.grant()
    }
  }

  return {
    async acquire(app, signal) {
      signal.throwIfAborted()
      // Uploads of one app are served in the order of their arrival.
      const isFirst = ![...waiters].some(other => other.app === app)
      if (isFirst && hasFreeSlot(app)) return takeSlot(app)
      const done = new AbortController()
      const { promise, resolve } = Promise.withResolvers<() => void>()
      const waiter = {
        app,
        grant: () => {
          waiters.delete(waiter)
          resolve(takeSlot(app))
        },
      }
      waiters.add(waiter)
      try {
        const aborted = once(signal, 'abort', { signal: done.signal })
        const rejected = aborted.then(() => signal.throwIfAborted() as never)
        return await Promise.race([promise, rejected])
      } finally {
        waiters.delete(waiter)
        done.abort()
      }
    },
  }
}
