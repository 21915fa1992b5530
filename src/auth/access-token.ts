/**
 * Access tokens: JWTs signed with a key from the database that grant permissions, a restriction and a number
 * of submits until they expire. A token has no row: it is valid only while the key that minted it is.
 * Invariant: no claim is used before the signature is verified, and no algorithm but our own is accepted.
 */
import { SignJWT } from 'jose/jwt/sign'
import { jwtVerify } from 'jose/jwt/verify'
import { v7 as uuidv7 } from 'uuid'
import { z } from 'zod'
import {
  type Access,
  createRestriction,
  createScope,
  PERMISSIONS,
  type Permission,
  writeOnlyRestriction,
} from '../domain/access-scope.ts'
import type { AppId } from '../domain/prediction.ts'

export interface NewToken {
  appId: AppId
  /** The visible prefix of the key that mints it. */
  keyPrefix: string
  permissions: readonly Permission[]
  /** Null: all of the app's predictions. */
  restriction: { tags: readonly string[]; ids: readonly string[] } | null
  maxSubmits: number
  /** ms since 1970, whole seconds. */
  expiresAt: number
}

export interface Tokens {
  mint(token: NewToken): Promise<string>
  /** The access that the token grants, even if it has expired; null if the token is invalid. */
  verify(token: string): Promise<Access | null>
}

const ALGORITHM = 'HS256'
const TOKEN_TYPE = 'at+jwt'
/** Disables jose's expiry check: each use of a token checks `expiresAt`. */
const UNIX_EPOCH = new Date(0)
const JWT_PATTERN = /^[\w-]+\.[\w-]+\.[\w-]+$/

/** The claims of a token. Tokens that were issued before an upgrade contain these names: do not rename them. */
const claimsSchema = z.object({
  /** Id of the token. */
  jti: z.string().min(1),
  /** Id of the app. */
  sub: z.string().min(1),
  /** Expiry, seconds since 1970. */
  exp: z.number(),
  /** The visible prefix of the key that minted it. */
  key: z.string().min(1),
  /** The permissions: what the token may do. */
  may: z.array(z.enum(PERMISSIONS)),
  /** Max submits in the token's lifetime. */
  max: z.number(),
  /** The restriction; null: all of the app's predictions. */
  only: z.object({ tags: z.array(z.string()), ids: z.array(z.string()) }).nullable(),
})

/** @param secret 32 bytes */
export function createTokens(secret: Uint8Array, now: () => number): Tokens {
  return {
    mint: ({ appId, keyPrefix, permissions, restriction, maxSubmits, expiresAt }) =>
      new SignJWT({ key: keyPrefix, may: permissions, max: maxSubmits, only: restriction })
        .setProtectedHeader({ alg: ALGORITHM, typ: TOKEN_TYPE })
        .setSubject(appId)
        .setJti(uuidv7())
        .setIssuedAt(new Date(now()))
        .setExpirationTime(new Date(expiresAt))
        .sign(secret),

    async verify(token) {
      if (!JWT_PATTERN.test(token) || !isCanonical(token.slice(token.lastIndexOf('.') + 1))) return null
      const options = { algorithms: [ALGORITHM], typ: TOKEN_TYPE, currentDate: UNIX_EPOCH }
      const verified = await jwtVerify(token, secret, options).catch(() => null)
      const { data } = claimsSchema.safeParse(verified?.payload)
      if (data === undefined) return null
      const { jti, sub, exp, key: keyPrefix, may, max, only } = data
      return {
        scope: createScope(
          sub as AppId,
          may.includes('READ') ? toRestriction(only) : toWriteOnlyRestriction(only),
        ),
        permissions: may,
        grant: { tokenId: jti, tags: toRestriction(only)?.tags ?? [], maxSubmits: max },
        keyPrefix,
        expiresAt: exp * 1000,
      }
    },
  }
}

const toRestriction = (restriction: NewToken['restriction']) =>
  restriction && createRestriction(restriction.tags, restriction.ids)
const toWriteOnlyRestriction = (restriction: NewToken['restriction']) =>
  writeOnlyRestriction(restriction?.tags ?? [], restriction?.ids ?? [])

/**
 * The last character has unused bits: without this check one token would have four texts, and be counted as
 * four.
 */
const isCanonical = (signature: string): boolean =>
  Buffer.from(signature, 'base64url').toString('base64url') === signature
