/**
 * Rate limits a minute: requests per client network and per key, uploads per app, invalid credentials per
 * network.
 * Invariant: memory is bounded. Above `maxNetworks`, the networks of one large prefix share one counter.
 */
import { createRequire } from 'node:module'
import { setTimeout } from 'node:timers/promises'
import type { RateLimiterMemory as Limiter, RateLimiterRes } from 'rate-limiter-flexible'
import type { Caller, InvalidCredentialLimiter } from '../../auth/authenticate.ts'
import { DAY_MS, MINUTE_MS, SECOND_MS } from '../../domain/time.ts'

const require = createRequire(import.meta.url)
// The package's index loads a client for every store that it supports: 3 MB and 20 ms.
const RateLimiterMemory: typeof Limiter = require('rate-limiter-flexible/lib/RateLimiterMemory.js')

/** Each `consume…` takes one point. It returns null, or the time until the next point, ms. */
export interface RateLimits {
  consumeNetwork(network: string): Promise<number | null>
  /** Per key, with all tokens that the key has minted. One token may use a tenth. */
  consumeCaller(caller: Pick<Caller, 'keyPrefix' | 'grant' | 'credentialHash'>): Promise<number | null>
  /**
   * Per app. One token may use a tenth, and in its lifetime `UPLOADS_PER_SUBMIT` for each submit it may make.
   */
  consumeUpload(caller: Pick<Caller, 'scope' | 'grant' | 'credentialHash'>): Promise<number | null>
  invalidCredentials: InvalidCredentialLimiter
}

export interface RateLimitsOptions {
  maxRequestsPerMinutePerAddress: number
  maxRequestsPerMinutePerKey: number
  maxWrongKeysPerMinute: number
  maxUploadsPerMinutePerApp: number
  /** Called for each invalid credential. */
  onInvalidCredential?: () => void
  delayMs?: number
  maxNetworks?: number
}

const MINUTE_SECONDS = MINUTE_MS / SECOND_MS
const DAY_SECONDS = DAY_MS / SECOND_MS
/** Uploads per permitted submit of a token, so that one token cannot fill its app's storage. */
const UPLOADS_PER_SUBMIT = 4
const TOKEN_LIFETIME_POINTS = 1_000_000
/**
 * Max networks remembered in a minute. At most twice as many are in memory. A million addresses in one minute
 * left 23 MB (measured).
 */
const MAX_NETWORKS = 50_000
/**
 * Delay of each credential lookup for a network above the limit. Valid credentials may come from the same
 * network, so they are delayed and not rejected.
 */
const INVALID_CREDENTIAL_DELAY_MS = 1000
/** Max delayed lookups at once, per network. Above it: 429. */
const MAX_DELAYED = 100

export function createRateLimits(options: RateLimitsOptions): RateLimits {
  const {
    maxRequestsPerMinutePerAddress,
    maxRequestsPerMinutePerKey,
    maxWrongKeysPerMinute,
    maxUploadsPerMinutePerApp,
    maxNetworks,
    delayMs = INVALID_CREDENTIAL_DELAY_MS,
    onInvalidCredential = () => {},
  } = options
  const createLimiter = (points: number) => new RateLimiterMemory({ points, duration: MINUTE_SECONDS })
  const [networkLimiter, keyLimiter, credentialLimiter] = [
    createLimiter(maxRequestsPerMinutePerAddress),
    createLimiter(maxRequestsPerMinutePerKey),
    createLimiter(maxWrongKeysPerMinute),
  ]
  const tokenLimiter = createLimiter(Math.ceil(maxRequestsPerMinutePerKey / 10))
  const [appUploadLimiter, tokenUploadLimiter] = [
    createLimiter(maxUploadsPerMinutePerApp),
    createLimiter(Math.ceil(maxUploadsPerMinutePerApp / 10)),
  ]
  const tokenLifetimeLimiter = new RateLimiterMemory({ points: TOKEN_LIFETIME_POINTS, duration: DAY_SECONDS })
  const networkKey = createNetworkKeys(maxNetworks ?? MAX_NETWORKS)
  const delayed = new Map<string, number>()

  return {
    consumeNetwork: network => consume(networkLimiter, networkKey(network)),
    consumeCaller: async ({ keyPrefix, grant, credentialHash }) =>
      (grant === null ? null : await consume(tokenLimiter, credentialHash)) ?? consume(keyLimiter, keyPrefix),
    async consumeUpload({ scope, grant, credentialHash }) {
      if (grant === null) return consume(appUploadLimiter, scope.appId)
      const points = Math.ceil(TOKEN_LIFETIME_POINTS / (UPLOADS_PER_SUBMIT * Math.max(grant.maxSubmits, 1)))
      return (
        (await consume(tokenLifetimeLimiter, credentialHash, points)) ??
        (await consume(tokenUploadLimiter, credentialHash)) ??
        consume(appUploadLimiter, scope.appId)
      )
    },
    invalidCredentials: {
      async delay(clientNetwork) {
        const network = networkKey(clientNetwork)
        const consumed = await credentialLimiter.get(network)
        if (consumed === null || consumed.consumedPoints < maxWrongKeysPerMinute) return null
        const count = delayed.get(network) ?? 0
        if (count >= MAX_DELAYED) return retryAfterMs(consumed)
        delayed.set(network, count + 1)
        await setTimeout(delayMs, undefined, { ref: false })
        const left = delayed.get(network)! - 1
        if (left > 0) delayed.set(network, left)
        else delayed.delete(network)
        return null
      },
      record(network) {
        onInvalidCredential()
        void credentialLimiter.penalty(networkKey(network))
      },
    },
  }
}

const consume = (limiter: Limiter, key: string, points = 1): Promise<number | null> =>
  limiter.consume(key, points).then(() => null, retryAfterMs)

/** Delay in ms until the caller may try again, at least 1: the limiter gives 0 or less if its minute has just ended. */
const retryAfterMs = ({ msBeforeNext }: RateLimiterRes): number => Math.max(1, msBeforeNext)

/** The limiter forgets a key after a minute, so it holds the keys of at most two of these minutes. */
function createNetworkKeys(maxNetworks: number): (network: string) => string {
  let networks = new Set<string>()
  let resetAt = 0

  return network => {
    if (Date.now() >= resetAt) {
      networks = new Set()
      resetAt = Date.now() + MINUTE_SECONDS * 1000
    }
    if (networks.size >= maxNetworks && !networks.has(network))
      return `${/^[\da-f]*/.exec(network)} and its neighbours`
    networks.add(network)
    return network
  }
}
