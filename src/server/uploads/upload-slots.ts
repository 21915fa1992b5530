/**
 * How many bodies of uploads are in memory at once: whoever finds no berth waits before its body is read.
 * Invariant: an app that has none in hand finds one while any of those that are kept for such apps is free, however
 * slow the uploads of the others are.
 */
import { once } from 'node:events'
import type { AppId } from '../../domain/prediction.ts'

export interface UploadSlots {
  /** Answers with what gives it back, a second time to no effect. Rejects once `signal` aborts. */
  acquire(app: AppId, signal: AbortSignal): Promise<() => void>
}

export interface UploadSlotsOptions {
  /** At once, of all. */
  total: number
  /** Of them an app's own. */
  perApp: number
  /** Of them for apps that have none. */
  reserved: number
}

/** 25 MB each at the most. */
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
      // Nobody of the same app overtakes.
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
