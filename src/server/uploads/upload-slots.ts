/**
 * How many bodies of uploads are in memory at once: whoever finds no berth waits before its body is read.
 * Invariant: an app that has none in hand finds one while any of those that are kept for such apps is free, however
 * slow the uploads of the others are.
 */
import { once } from 'node:events'
import type { AppId } from '../../domain/prediction.ts'

export interface Berths {
  /** Answers with what gives it back, a second time to no effect. Rejects once `signal` aborts. */
  take(app: AppId, signal: AbortSignal): Promise<() => void>
}

export interface BerthsOptions {
  /** At once, of all. */
  most: number
  /** Of them an app's own. */
  share: number
  /** Of them for apps that have none. */
  kept: number
}

/** 25 MB each at the most. */
const BERTHS: BerthsOptions = { most: 8, share: 2, kept: 4 }

export function createBerths({ most, share, kept }: BerthsOptions = BERTHS): Berths {
  const inHand = new Map<AppId, number>()
  const waiting = new Set<{ app: AppId; enter: () => void }>()
  let taken = 0

  const isFree = (app: AppId): boolean => {
    const own = inHand.get(app) ?? 0
    return own === 0 ? taken < most : own < share && taken < most - kept
  }

  function enter(app: AppId): () => void {
    taken++
    inHand.set(app, (inHand.get(app) ?? 0) + 1)
    let isIn = true
    return () => {
      if (!isIn) return
      isIn = false
      taken--
      const left = inHand.get(app)! - 1
      if (left > 0) inHand.set(app, left)
      else inHand.delete(app)
      for (const one of waiting) if (isFree(one.app)) one.enter()
    }
  }

  return {
    async take(app, signal) {
      signal.throwIfAborted()
      // Nobody of the same app overtakes.
      const isFirst = ![...waiting].some(one => one.app === app)
      if (isFirst && isFree(app)) return enter(app)
      const settled = new AbortController()
      const { promise, resolve } = Promise.withResolvers<() => void>()
      const place = {
        app,
        enter: () => {
          waiting.delete(place)
          resolve(enter(app))
        },
      }
      waiting.add(place)
      try {
        const gone = once(signal, 'abort', { signal: settled.signal })
        const left = gone.then(() => signal.throwIfAborted() as never)
        return await Promise.race([promise, left])
      } finally {
        waiting.delete(place)
        settled.abort()
      }
    },
  }
}
