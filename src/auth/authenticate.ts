/**
 * Authenticates a request: an app by its key, or by an access token minted by one.
 * Invariant: unknown, expired and malformed credentials get the same response. A revoked key, and each token
 * of it, is accepted for at most KEY_CACHE_TTL_MS.
 */
import { hash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import { type Access, fullScope, PERMISSIONS } from '../domain/access-scope.ts'
import type { AppNames } from '../observability/app-names.ts'
import type { ApiKey, Store } from '../store/store.ts'
import type { Tokens } from './access-token.ts'
import { hashesEqual, parseKey } from './api-key.ts'

/** Shared by all connections with the same credential: there may be thousands. */
export interface Caller extends Access {
  /** SHA-256 of the credential. */
  readonly credentialHash: string
}

/** Null: invalid credential. `retryAfterMs`: too many invalid credentials from this network. */
export type AuthFailure = null | { retryAfterMs: number }

export interface Authenticate {
  /** @param authorization the header's value: `Bearer …` */
  authenticate(authorization: unknown, network: string): Promise<Caller | AuthFailure>
  /** Whether the credential is still valid. */
  isStillValid(caller: Caller): Promise<boolean>
}

export interface InvalidCredentialLimiter {
  /**
   * Waits before a key is looked up, if the client network has sent too many invalid credentials. The result is null,
   * or, if too many lookups of the network wait already, the ms after which the client may retry.
   */
  delay(network: string): Promise<number | null>
  record(network: string): void
}

export interface AuthenticateOptions {
  store: Store
  tokens: Tokens
  appNames: AppNames
  invalidCredentials: InvalidCredentialLimiter
  now: () => number
}

const KEY_CACHE_SIZE = 1000
const KEY_CACHE_TTL_MS = 1000

export function createAuthenticate(options: AuthenticateOptions): Authenticate {
  const { store, tokens, appNames, invalidCredentials, now } = options
  const callers = new LRUCache<string, Caller>({ max: KEY_CACHE_SIZE })
  const keys = new LRUCache<string, ApiKey & { appId: Access['scope']['appId'] }>({
    max: KEY_CACHE_SIZE,
    ttl: KEY_CACHE_TTL_MS,
  })

  async function findKey(prefix: string) {
    let apiKey = keys.get(prefix) ?? null
    if (apiKey === null) {
      apiKey = await store.findKey(prefix)
      if (apiKey === null) return null
      // Here, because every caller of an app first needs one of the app's keys.
      await appNames.load(apiKey.appId)
      keys.set(prefix, apiKey)
    }
    return apiKey
  }

  const isExpired = (expiresAt: number | null) => expiresAt !== null && expiresAt <= now()

  /** Checks the key, or the key that minted the token. */
  async function isStillValid({
    scope,
    grant,
    keyPrefix,
    credentialHash,
    expiresAt,
  }: Caller): Promise<boolean> {
    const apiKey = isExpired(expiresAt) ? null : await findKey(keyPrefix)
    if (apiKey === null || isExpired(apiKey.expiresAt) || apiKey.appId !== scope.appId) return false
    // Both are hashes that this process holds already: how long the comparison takes reveals nothing.
    return grant !== null || credentialHash === apiKey.hash
  }

  async function authenticateKey(bearer: string): Promise<Caller | null> {
    const parsed = parseKey(bearer)
    const apiKey = parsed && (await findKey(parsed.prefix))
    if (!apiKey || !hashesEqual(parsed.hash, apiKey.hash)) return null
    const { prefix, hash: credentialHash, appId } = apiKey
    return {
      scope: fullScope(appId),
      permissions: PERMISSIONS,
      grant: null,
      keyPrefix: prefix,
      expiresAt: null,
      credentialHash,
    }
  }

  async function authenticateToken(bearer: string, credentialHash: string): Promise<Caller | null> {
    const access = await tokens.verify(bearer)
    return access && { ...access, credentialHash }
  }

  return {
    async authenticate(authorization, network) {
      const bearer = parseBearer(authorization)
      const credentialHash = hash('sha256', bearer)
      const cached = callers.get(credentialHash)
      // A missing credential is no guess.
      const isGuess = cached === undefined && Boolean(authorization)
      const retryAfterMs = isGuess ? await invalidCredentials.delay(network) : null
      if (retryAfterMs !== null) return { retryAfterMs }
      const caller =
        cached ?? (await authenticateToken(bearer, credentialHash)) ?? (await authenticateKey(bearer))
      // An expired credential was valid once: it is not counted as a guess.
      if (caller === null && isGuess) invalidCredentials.record(network)
      if (caller === null || !(await isStillValid(caller))) return null
      if (cached === undefined) callers.set(credentialHash, caller)
      return caller
    },

    isStillValid,
  }
}

/** The credential after `Bearer`; empty if it is missing. */
export const parseBearer = (authorization: unknown): string =>
  typeof authorization === 'string' ? (/^Bearer +(\S+)$/i.exec(authorization)?.[1] ?? '') : ''
