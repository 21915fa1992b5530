/**
 * Text as an app may give it.
 */
import { z } from 'zod'

/** Half a surrogate pair could be stored, and read back as something else. */
export const text = z.string().refine(value => value.isWellFormed(), 'expected well-formed Unicode')

/** As a person counts them, and not in UTF-16 units. */
export const characters = (value: string): number => [...value].length

/** Of a prediction. */
export const MOST_TAGS = 10

export const tagList = z
  .array(text.refine(tag => tag.trim() !== '' && characters(tag) <= 64, 'expected 1 to 64 characters'))
  .max(MOST_TAGS, `expected at most ${MOST_TAGS} tags`)
