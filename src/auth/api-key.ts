/**
 * The form of an app's key: `rsh_`, eight characters that are its visible name, 32 that are its secret. Pure but for
 * the random source. Only the hash of the whole is kept; 190 bits of chance need no salt.
 */
import { hash, randomBytes, timingSafeEqual } from 'node:crypto'

/** The characters of a key that may be seen. */
export const PREFIX_LENGTH = 12
const KEY_PATTERN = /^rsh_[\w-]{40}$/

export interface NewKey {
  /** Shown once, kept by its app alone. */
  key: string
  prefix: string
  hash: string
}

export function createKey(): NewKey {
  const key = `rsh_${randomBytes(30).toString('base64url')}`
  return { key, prefix: key.slice(0, PREFIX_LENGTH), hash: sha256(key) }
}

/** What follows `Bearer`; empty if nothing does. */
export const parseBearer = (authorization: unknown): string =>
  typeof authorization === 'string' ? (/^Bearer +(\S+)$/i.exec(authorization)?.[1] ?? '') : ''

/** Null if it has not the form of a key. */
export const parseKey = (key: string): { prefix: string; hash: string } | null =>
  KEY_PATTERN.test(key) ? { prefix: key.slice(0, PREFIX_LENGTH), hash: sha256(key) } : null

/** In constant time. */
export const hashesEqual = (a: string, b: string): boolean =>
  a.length === b.length && timingSafeEqual(Buffer.from(a), Buffer.from(b))

/** Of a key, or of whatever else is shown in its place. */
export const sha256 = (key: string): string => hash('sha256', key)
