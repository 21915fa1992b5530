/**
 * From what a request says of itself to the app it is.
 * Invariant: an unknown, an expired and a malformed key get the same answer.
 */
import { readBearer, sameHash } from '../key.ts'
import type { AppId } from '../prediction.ts'
import type { Store } from '../store/store.ts'

/** `authorization` as in the header: `Bearer rsh_…`. Null: nobody we know. */
export type Authenticate = (authorization: unknown) => Promise<AppId | null>

export function createAuthenticate(store: Store, now: () => number): Authenticate {
  return async authorization => {
    const given = readBearer(authorization)
    const known = given && (await store.findKey(given.prefix))
    if (!given || !known || !sameHash(given.hash, known.hash)) return null
    return known.expiresAt !== null && known.expiresAt <= now() ? null : known.appId
  }
}
