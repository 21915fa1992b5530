/**
 * Rules for text, tags and metadata in an app's input.
 */
import { z } from 'zod'

/** Half of a surrogate pair could be stored, and read back as something else. */
export const textSchema = z.string().refine(value => value.isWellFormed(), 'expected well-formed Unicode')

/** Counts code points, not UTF-16 units. */
export const countCharacters = (value: string): number => [...value].length

export const textUpTo = (maxCharacters: number) =>
  textSchema.refine(
    value => countCharacters(value) <= maxCharacters,
    `expected at most ${maxCharacters} characters`,
  )

/** A text that is not blank. */
export const someTextUpTo = (maxCharacters: number) =>
  textUpTo(maxCharacters).refine(value => value.trim() !== '', 'expected some text')

/** A text, or null if it is missing or blank. */
export const optionalTextUpTo = (maxCharacters: number) =>
  textUpTo(maxCharacters)
    .nullish()
    .transform(value => (value?.trim() ? value : null))

const MAX_METADATA_BYTES = 4096

/** Any JSON value; null if it is missing. */
export const metadataSchema = z
  .unknown()
  .refine(value => jsonBytes(value) <= MAX_METADATA_BYTES, 'expected at most 4 KiB of JSON')
  .nullish()
  .transform(value => value ?? null)

/** Bytes of the value as JSON; Infinity if it is nested too deeply to be serialised. */
function jsonBytes(value: unknown): number {
  try {
    return Buffer.byteLength(JSON.stringify(value ?? null))
  } catch {
    return Number.POSITIVE_INFINITY
  }
}

/** Max tags per prediction. */
export const MAX_TAGS = 10

export const tagListSchema = z
  .array(
    textSchema.refine(tag => tag.trim() !== '' && countCharacters(tag) <= 64, 'expected 1 to 64 characters'),
  )
  .max(MAX_TAGS, `expected at most ${MAX_TAGS} tags`)
