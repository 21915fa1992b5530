/**
 * Access tokens: the gateway's signed word that whoever bears it may do so much, for so long. A JWT under a key of the
 * database, and no row: it stands as long as the key that minted it does.
 * Invariant: nothing in one is believed before its signature holds, and no algorithm but our own is read.
 */
import { SignJWT } from 'jose/jwt/sign'
import { jwtVerify } from 'jose/jwt/verify'
import { v7 as uuidv7 } from 'uuid'
import { z } from 'zod'
import { type Access, blindOf, PERMISSIONS, type Permission, restrictionOf } from '../domain/access-scope.ts'
import type { AppId } from '../domain/prediction.ts'

export interface NewToken {
  appId: AppId
  /** The visible prefix of the key that mints it. */
  key: string
  permissions: readonly Permission[]
  /** Null: all of the app's predictions. */
  only: { tags: readonly string[]; ids: readonly string[] } | null
  maxSubmits: number
  /** Whole seconds. */
  expiresAt: number
}

export interface Tokens {
  mint(token: NewToken): Promise<string>
  /** What it gives, or gave, access to; null if it is none of ours. */
  read(token: string): Promise<Access | null>
}

const ALGORITHM = 'HS256'
const KIND = 'at+jwt'
/** Whether it is over is asked each time it is used, and not once here. */
const LONG_AGO = new Date(0)
const FORM = /^[\w-]+\.[\w-]+\.[\w-]+$/

const claims = z.object({
  jti: z.string().min(1),
  sub: z.string().min(1),
  exp: z.number(),
  key: z.string().min(1),
  may: z.array(z.enum(PERMISSIONS)),
  max: z.number(),
  only: z.object({ tags: z.array(z.string()), ids: z.array(z.string()) }).nullable(),
})

/** @param secret 32 bytes */
export function createTokens(secret: Uint8Array, now: () => number): Tokens {
  return {
    mint: ({ appId, key, permissions, only, maxSubmits, expiresAt }) =>
      new SignJWT({ key, may: permissions, max: maxSubmits, only })
        .setProtectedHeader({ alg: ALGORITHM, typ: KIND })
        .setSubject(appId)
        .setJti(uuidv7())
        .setIssuedAt(new Date(now()))
        .setExpirationTime(new Date(expiresAt))
        .sign(secret),

    async read(token) {
      if (!FORM.test(token) || !isCanonical(token.slice(token.lastIndexOf('.') + 1))) return null
      const options = { algorithms: [ALGORITHM], typ: KIND, currentDate: LONG_AGO }
      const verified = await jwtVerify(token, secret, options).catch(() => null)
      const { data } = claims.safeParse(verified?.payload)
      if (data === undefined) return null
      const { jti, sub, exp, key, may, max, only } = data
      return {
        scope: { appId: sub as AppId, only: may.includes('READ') ? restriction(only) : blind(only) },
        grant: { token: jti, tags: restriction(only)?.tags ?? [], permissions: may, maxSubmits: max },
        key,
        expiresAt: exp * 1000,
      }
    },
  }
}

const restriction = (only: NewToken['only']) => only && restrictionOf(only.tags, only.ids)
const blind = (only: NewToken['only']) => blindOf(only?.tags ?? [], only?.ids ?? [])

/** Its last character has bits that nothing reads: one token would have four texts, and be counted as four. */
const isCanonical = (signature: string): boolean =>
  Buffer.from(signature, 'base64url').toString('base64url') === signature
