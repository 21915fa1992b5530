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

type Rule = readonly [isValid: (text: string) => boolean, message: string]

/** Half of a surrogate pair could be stored, and read back as something else. */
const WELL_FORMED: Rule = [text => text.isWellFormed(), 'expected well-formed Unicode']

/** The messages of the rules that the text breaks. The other rules do not read a text that breaks the first. */
const brokenRules = (text: string, [lengthRule, ...others]: readonly [Rule, ...Rule[]]): string[] =>
  (lengthRule[0](text) ? others.filter(([isValid]) => !isValid(text)) : [lengthRule]).map(
    ([, message]) => message,
  )

/** The issues do not abort: an app gets all the faults of its input at once. */
const textSchema = (...rules: [Rule, ...Rule[]]) =>
  z.string().superRefine((text, context) => {
    for (const message of brokenRules(text, rules)) context.addIssue({ code: 'custom', message })
  })

/** @param rules read a text of a valid length only */
export const textUpTo = (maxCharacters: number, ...rules: Rule[]) =>
  textSchema(
    [text => isWithin(text, maxCharacters), `expected at most ${maxCharacters} characters`],
    WELL_FORMED,
    ...rules,
  )

/** A text that is not blank. */
export const someTextUpTo = (maxCharacters: number) =>
  textUpTo(maxCharacters, [text => text.trim() !== '', 'expected some text'])

/** A text, or null if it is missing or blank. */
export const optionalTextUpTo = (maxCharacters: number) =>
  textUpTo(maxCharacters)
    .nullish()
    .transform(value => (value?.trim() ? value : null))

const nameRule = (maxCharacters: number): Rule => [
  text => text !== '' && isWithin(text, maxCharacters),
  `expected 1 to ${maxCharacters} characters`,
]

/** A short text of at least one character, blank or not. */
export const nameUpTo = (maxCharacters: number) => textSchema(nameRule(maxCharacters), WELL_FORMED)

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

const TAG_RULES: [Rule, ...Rule[]] = [
  nameRule(MAX_TAG_CHARACTERS),
  WELL_FORMED,
  [tag => tag.trim() !== '', nameRule(MAX_TAG_CHARACTERS)[1]],
]

/** No tag is read if there are too many. GraphQL has checked the types, which z.array would do for each tag again. */
export const tagListSchema = z.custom<string[]>().superRefine((tags, context) => {
  if (tags.length > MAX_TAGS)
    context.addIssue({ code: 'custom', message: `expected at most ${MAX_TAGS} tags` })
  else
    for (const [i, tag] of tags.entries())
      for (const message of brokenRules(tag, TAG_RULES))
        context.addIssue({ code: 'custom', path: [i], message })
})
