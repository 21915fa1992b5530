/**
 * Admits callers and their operations, over HTTP and WebSocket alike: credential, rate, turn of the app.
 * Invariant: nothing is revealed before the credential is verified. Every rejection of a known app is counted.
 */
import type { Authenticate, Caller } from '../../auth/authenticate.ts'
import type { Services } from '../../graphql/context.ts'
import type { RateLimits } from '../limits/rate-limits.ts'

export type Admission =
  | { kind: 'admitted'; caller: Caller }
  /** The credential is missing, malformed, unknown or expired. */
  | { kind: 'unauthenticated' }
  | { kind: 'rate-limited'; retryAfterMs: number }

export interface Admissions {
  /**
   * Admits a POST or a `connection_init`, before anything else of it is read. It does not wait for the app's turn: a
   * client may send its first operation right behind its `connection_init`.
   * @param authorization `Bearer …`
   * @param network the client's network
   */
  admitCaller(authorization: unknown, network: string): Promise<Admission>
  /**
   * Admits one more operation of an admitted caller, at its app's turn. Null, or the ms after which the client may retry.
   */
  admitOperation(caller: Caller): Promise<number | null>
}

export function createAdmissions(
  authenticate: Pick<Authenticate, 'authenticate'>,
  rateLimits: Pick<RateLimits, 'consumeCaller'>,
  { nextSlice, countRejection }: Pick<Services, 'nextSlice' | 'countRejection'>,
): Admissions {
  async function consume(caller: Caller): Promise<number | null> {
    const retryAfterMs = await rateLimits.consumeCaller(caller)
    if (retryAfterMs !== null) countRejection(caller.scope.appId, 'RATE_LIMITED')
    return retryAfterMs
  }

  return {
    async admitCaller(authorization, network) {
      const caller = await authenticate.authenticate(authorization, network)
      if (caller === null) return { kind: 'unauthenticated' }
      if ('retryAfterMs' in caller) return { kind: 'rate-limited', retryAfterMs: caller.retryAfterMs }
      const retryAfterMs = await consume(caller)
      return retryAfterMs === null ? { kind: 'admitted', caller } : { kind: 'rate-limited', retryAfterMs }
    },

    async admitOperation(caller) {
      const retryAfterMs = await consume(caller)
      if (retryAfterMs === null) await nextSlice(caller.scope.appId)
      return retryAfterMs
    },
  }
}
