/**
 * Rules for text, tags and metadata in an app's input.
 * Invariant: the length is checked first, and nothing else of a value that is too long. A document can pass one
 * variable to many fields, so a megabyte would be read many times.
 */
import { z } from 'zod'

/** Counts code points, not UTF-16 units. */
export const countCharacters = (value: string): number => [...value].length

/** Whether the text has at most `maxCharacters` code points. A code point is one or two UTF-16 units. */
const isWithin = (value: string, maxCharacters: number): boolean =>
  value.length <= maxCharacters ||
  (value.length <= 2 * maxCharacters && countCharacters(value) <= maxCharacters)

const lengthIssue = (message: string) => ({ message, abort: true })

/** Half of a surrogate pair could be stored, and read back as something else. */
const wellFormed = (schema: z.ZodString) =>
  schema.refine(value => value.isWellFormed(), 'expected well-formed Unicode')

export const textUpTo = (maxCharacters: number) =>
  wellFormed(
    z
      .string()
      .refine(
        value => isWithin(value, maxCharacters),
        lengthIssue(`expected at most ${maxCharacters} characters`),
      ),
  )

/** A text that is not blank. */
export const someTextUpTo = (maxCharacters: number) =>
  textUpTo(maxCharacters).refine(value => value.trim() !== '', 'expected some text')

/** A text, or null if it is missing or blank. */
export const optionalTextUpTo = (maxCharacters: number) =>
  textUpTo(maxCharacters)
    .nullish()
    .transform(value => (value?.trim() ? value : null))

/** A short text of at least one character, blank or not. */
export const nameUpTo = (maxCharacters: number) =>
  wellFormed(
    z
      .string()
      .refine(
        value => value !== '' && isWithin(value, maxCharacters),
        lengthIssue(`expected 1 to ${maxCharacters} characters`),
      ),
  )

const MAX_METADATA_BYTES = 4096

/** Any JSON value; null if it is missing. */
export const metadataSchema = z
  .unknown()
  .refine(value => isJsonWithin(value, MAX_METADATA_BYTES), 'expected at most 4 KiB of JSON')
  .nullish()
  .transform(value => value ?? null)

/** Whether the value takes at most `maxBytes` as JSON. */
const isJsonWithin = (value: unknown, maxBytes: number): boolean =>
  isShorterThan(value, maxBytes) && Buffer.byteLength(JSON.stringify(value ?? null)) <= maxBytes

/**
 * False if the value surely takes over `maxBytes` as JSON. It stops reading there. A value that passes has few levels,
 * so JSON.stringify does not overflow the stack.
 */
function isShorterThan(value: unknown, maxBytes: number): boolean {
  const values = [value]
  let bytes = 0
  for (const item of values) {
    bytes += typeof item === 'string' ? item.length + 2 : typeof item === 'object' ? 2 : 1
    if (bytes > maxBytes) return false
    if (typeof item !== 'object' || item === null) continue
    if (Array.isArray(item)) {
      if (bytes + item.length > maxBytes) return false
      values.push(...item)
    } else
      for (const key in item) {
        bytes += key.length + 3
        if (bytes > maxBytes) return false
        values.push((item as Record<string, unknown>)[key])
      }
  }
  return true
}

/** Max tags per prediction. */
export const MAX_TAGS = 10
const MAX_TAG_CHARACTERS = 64

/** No tag of a prediction is longer, in UTF-16 units. */
export const MAX_TAG_UNITS = 2 * MAX_TAG_CHARACTERS

const tagSchema = nameUpTo(MAX_TAG_CHARACTERS).refine(
  tag => tag.trim() !== '',
  `expected 1 to ${MAX_TAG_CHARACTERS} characters`,
)

/** The number is checked before any tag is. */
export const tagListSchema = z
  .array(z.string())
  .max(MAX_TAGS, `expected at most ${MAX_TAGS} tags`)
  .pipe(z.array(tagSchema))
