/**
 * From what a request says of itself to who it is: an app by its key, or by a token that its key has minted.
 * Invariant: unknown, expired and malformed get the same answer. A key that was taken back is good for no longer than
 * FRESH_MS, and neither is a token of it.
 */
import { LRUCache } from 'lru-cache'
import { type Access, wholeOf } from '../domain/access-scope.ts'
import type { Names } from '../observability/app-names.ts'
import type { Key, Store } from '../store/store.ts'
import type { Tokens } from './access-token.ts'
import { bearerIn, hashOf, readKey, sameHash } from './api-key.ts'

/** One object for all who come with the same key or token: thousands of connections may. */
export interface Caller extends Access {
  /** Of what it came with. */
  readonly hash: string
}

/** Null: nobody we know. Slowed: too many guess from there; ms to wait. */
export type Denied = null | { slowed: number }

export interface Authenticate {
  /** `authorization` as in the header: `Bearer …`. Without an address nobody is slowed. */
  who(authorization: unknown, address?: string): Promise<Caller | Denied>
  /** Whether what it came with is still good. */
  stands(caller: Caller): Promise<boolean>
}

export interface WrongKeys {
  /** Before a key is looked up. Whoever has guessed too often waits; null: it may go on, or how long it shall stay away, ms. */
  slow(address: string): Promise<number | null>
  note(address: string): void
}

export interface AuthenticateOptions {
  store: Store
  tokens: Tokens
  names: Names
  wrongKeys: WrongKeys
  now: () => number
}

const KNOWN = 1000
const FRESH_MS = 1000

export function createAuthenticate(options: AuthenticateOptions): Authenticate {
  const { store, tokens, names, wrongKeys, now } = options
  const callers = new LRUCache<string, Caller>({ max: KNOWN })
  const keys = new LRUCache<string, Key & { appId: Access['scope']['appId'] }>({ max: KNOWN, ttl: FRESH_MS })

  async function keyAt(prefix: string) {
    let known = keys.get(prefix) ?? null
    if (known === null) {
      known = await store.findKey(prefix)
      if (known !== null) keys.set(prefix, known)
    }
    return known
  }

  const isOver = (expiresAt: number | null) => expiresAt !== null && expiresAt <= now()

  /** The key itself, or the one that minted the token. */
  async function stands({ scope, grant, key, hash, expiresAt }: Caller): Promise<boolean> {
    const known = isOver(expiresAt) ? null : await keyAt(key)
    if (known === null || isOver(known.expiresAt) || known.appId !== scope.appId) return false
    return grant !== null || sameHash(hash, known.hash)
  }

  async function byKey(bearer: string): Promise<Caller | null> {
    const key = readKey(bearer)
    const known = key && (await keyAt(key.prefix))
    if (!known || !sameHash(key.hash, known.hash)) return null
    const { prefix, hash, appId } = known
    return { scope: wholeOf(appId), grant: null, key: prefix, expiresAt: null, hash }
  }

  async function byToken(bearer: string, hash: string): Promise<Caller | null> {
    const access = await tokens.read(bearer)
    return access && { ...access, hash }
  }

  return {
    async who(authorization, address) {
      const bearer = bearerIn(authorization)
      const hash = hashOf(bearer)
      const known = callers.get(hash)
      const guesser = authorization && known === undefined ? address : undefined
      const slowed = guesser === undefined ? null : await wrongKeys.slow(guesser)
      if (slowed !== null) return { slowed }
      const caller = known ?? (await byKey(bearer)) ?? (await byToken(bearer, hash))
      // What is over was good once: no guess.
      if (caller === null && guesser !== undefined) wrongKeys.note(guesser)
      if (caller === null || !(await stands(caller))) return null
      await names.learn(caller.scope.appId)
      callers.set(hash, caller)
      return caller
    },

    stands,
  }
}
