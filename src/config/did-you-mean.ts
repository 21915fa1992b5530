/**
 * The known name that a mistyped one is likely meant to be, as the end of a sentence. Pure.
 */
import { closest, distance } from 'fastest-levenshtein'

/** `; did you mean X?`, or nothing where none is near. */
export function didYouMean(name: string, known: readonly string[]): string {
  if (known.length === 0) return ''
  const near = closest(name, known)
  return distance(name, near) <= name.length / 2 ? `; did you mean ${near}?` : ''
}
