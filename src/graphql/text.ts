/**
 * Text as an app may give it.
 */
import { z } from 'zod'

/** Half a surrogate pair could be stored, and read back as something else. */
export const text = z.string().refine(value => value.isWellFormed(), 'expected well-formed Unicode')

/** As a person counts them, and not in UTF-16 units. */
export const characters = (value: string): number => [...value].length
