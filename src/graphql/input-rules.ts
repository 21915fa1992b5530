/**
 * Rules for text and tags in an app's input.
 */
import { z } from 'zod'

/** Half of a surrogate pair could be stored, and read back as something else. */
export const textSchema = z.string().refine(value => value.isWellFormed(), 'expected well-formed Unicode')

/** Counts code points, not UTF-16 units. */
export const countCharacters = (value: string): number => [...value].length

/** Max tags per prediction. */
export const MAX_TAGS = 10

export const tagListSchema = z
  .array(
    textSchema.refine(tag => tag.trim() !== '' && countCharacters(tag) <= 64, 'expected 1 to 64 characters'),
  )
  .max(MAX_TAGS, `expected at most ${MAX_TAGS} tags`)
