/**
 * From what a request says of itself to who it is.
 * Invariant: an unknown, an expired and a malformed key get the same answer.
 */
import { LRUCache } from 'lru-cache'
import { readBearer, sameHash } from '../key.ts'
import type { AppId } from '../prediction.ts'
import type { Store } from '../store/store.ts'

export interface Caller {
  appId: AppId
  /** The key it came with. */
  key: { prefix: string; hash: string }
}

export interface Authenticate {
  /** `authorization` as in the header: `Bearer rsh_…`. Null: nobody we know. */
  who(authorization: unknown): Promise<Caller | null>
  /** Whether the key it came with is still good. */
  stands(caller: Caller): Promise<boolean>
}

/** Callers with the same key are one object, for thousands of connections have the same. */
const KNOWN = 1000

export function createAuthenticate(store: Store, now: () => number): Authenticate {
  const callers = new LRUCache<string, Caller>({ max: KNOWN })

  async function callerOf(key: Caller['key']): Promise<Caller | null> {
    const known = await store.findKey(key.prefix)
    if (!known || !sameHash(key.hash, known.hash)) return null
    if (known.expiresAt !== null && known.expiresAt <= now()) return null
    const caller = callers.get(key.hash) ?? { appId: known.appId, key }
    callers.set(key.hash, caller)
    return caller
  }

  return {
    async who(authorization) {
      const key = readBearer(authorization)
      return key && callerOf(key)
    },
    stands: async ({ key }) => (await callerOf(key)) !== null,
  }
}
