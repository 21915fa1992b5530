/**
 * Counting semaphore of the upload bodies in memory: a total, a maximum per app, per network and per token, and slots
 * reserved for apps that hold none. An upload without a slot waits before its body is read.
 * Invariant: an app that holds no slot gets one while a reserved slot is free, however slow the uploads of
 * other apps are. A token cannot take all slots of its app, and neither can the tokens of one network.
 */
import { once } from 'node:events'
import type { AppId } from '../../domain/prediction.ts'
import { MAX_FORM_BYTES } from './multipart-parser.ts'

export interface UploadSlots {
  /** Resolves with an idempotent function that releases the slot. Rejects once `signal` aborts. */
  acquire(holder: SlotHolder, signal: AbortSignal): Promise<() => void>
}

export interface SlotHolder {
  app: AppId
  /** Null: the caller has a key, and only its app is limited. */
  token: string | null
  network: string
  /** Length of the form, or the max length if it is not declared. */
  bytes: number
}

export interface UploadSlotsOptions {
  /** Max slots. */
  total: number
  /** Max slots per app. */
  perApp: number
  /** Max slots of an app's tokens per client network. */
  perNetwork: number
  perToken: number
  /** Slots that only an app without a slot may take. */
  reserved: number
  /** Max bytes of the forms of an app. */
  maxBytesPerApp: number
  /** Max bytes of the forms of an app's tokens per client network. */
  maxBytesPerNetwork: number
}

/** The longest forms fill two of an app's three slots, 52 MB. The tokens of one network cannot have both. */
const DEFAULT_SLOTS: UploadSlotsOptions = {
  total: 8,
  perApp: 3,
  perNetwork: 2,
  perToken: 1,
  reserved: 4,
  maxBytesPerApp: 2 * MAX_FORM_BYTES,
  maxBytesPerNetwork: MAX_FORM_BYTES,
}

interface Held {
  slots: number
  bytes: number
}

const NOTHING_HELD: Held = { slots: 0, bytes: 0 }

export function createUploadSlots(options: UploadSlotsOptions = DEFAULT_SLOTS): UploadSlots {
  const { total, perApp, perNetwork, perToken, reserved } = options
  /** By app, network of an app, and token of an app. */
  const heldByKey = new Map<string, Held>()
  const waiters = new Set<{ holder: SlotHolder; grant: () => void }>()
  let takenSlots = 0

  const heldBy = (key: string): Held => heldByKey.get(key) ?? NOTHING_HELD

  function hasFreeSlot(holder: SlotHolder): boolean {
    const [ofApp, ofNetwork, ofToken] = keysOf(holder).map(heldBy) as [Held, Held, Held]
    if (takenSlots >= (ofApp.slots > 0 ? total - reserved : total)) return false
    if (ofApp.slots >= perApp || ofApp.bytes + holder.bytes > options.maxBytesPerApp) return false
    if (holder.token === null) return true
    if (ofNetwork.slots >= perNetwork || ofNetwork.bytes + holder.bytes > options.maxBytesPerNetwork)
      return false
    return ofToken.slots < perToken
  }

  function add(holder: SlotHolder, count: 1 | -1): void {
    takenSlots += count
    const keys = keysOf(holder)
    for (const key of holder.token === null ? keys.slice(0, 1) : keys) {
      const { slots, bytes } = heldBy(key)
      if (slots + count > 0) heldByKey.set(key, { slots: slots + count, bytes: bytes + count * holder.bytes })
      else heldByKey.delete(key)
    }
  }

  function takeSlot(holder: SlotHolder): () => void {
    add(holder, 1)
    let isHeld = true
    return () => {
      if (!isHeld) return
      isHeld = false
      add(holder, -1)
      for (const waiter of waiters) if (hasFreeSlot(waiter.holder)) waiter.grant()
    }
  }

  return {
    async acquire(holder, signal) {
      signal.throwIfAborted()
      // No waiter could take this slot: each free slot is given to the first waiter that may have it.
      if (hasFreeSlot(holder)) return takeSlot(holder)
      const done = new AbortController()
      const { promise, resolve } = Promise.withResolvers<() => void>()
      const waiter = {
        holder,
        grant: () => {
          waiters.delete(waiter)
          resolve(takeSlot(holder))
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

const keysOf = ({ app, network, token }: SlotHolder): [app: string, network: string, token: string] => [
  app,
  `${app} network ${network}`,
  `${app} token ${token}`,
]
