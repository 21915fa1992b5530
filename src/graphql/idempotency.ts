/**
 * Idempotency keys, one space for everything that makes a prediction: how one looks, and what it stands for.
 */
import { createHash } from 'node:crypto'
import { stringify } from 'safe-stable-stringify'
import { characters, text } from './input-rules.ts'

export const idempotencyKey = text
  .refine(key => key !== '' && characters(key) <= 255, 'expected 1 to 255 characters')
  .nullish()
  .transform(key => key ?? null)

/** The same for the same input, in whatever order the keys of its metadata come. */
export const fingerprint = (asked: object): string =>
  createHash('sha256').update(stringify(asked)!).digest('hex')
