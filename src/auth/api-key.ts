/**
 * The form of an app's key: `rsh_`, then eight visible characters, then 32 secret ones. Pure but for the
 * random source. Only the hash of the whole key is stored; 190 random bits need no salt.
 */
import { hash, randomBytes, timingSafeEqual } from 'node:crypto'

/** Length of the visible prefix. */
export const PREFIX_LENGTH = 12
const KEY_PATTERN = /^rsh_[\w-]{40}$/

export interface NewKey {
  /** Shown once, and not stored. */
  key: string
  prefix: string
  hash: string
}

export function createKey(): NewKey {
  const key = `rsh_${randomBytes(30).toString('base64url')}`
  return { key, prefix: key.slice(0, PREFIX_LENGTH), hash: sha256(key) }
}

/** Null if the text is not formed like a key. */
export const parseKey = (key: string): { prefix: string; hash: string } | null =>
  KEY_PATTERN.test(key) ? { prefix: key.slice(0, PREFIX_LENGTH), hash: sha256(key) } : null

/** Compares in constant time. */
export const hashesEqual = (a: string, b: string): boolean =>
  a.length === b.length && timingSafeEqual(Buffer.from(a), Buffer.from(b))

const sha256 = (key: string): string => hash('sha256', key)
