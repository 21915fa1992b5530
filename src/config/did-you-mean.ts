/**
 * Suggests the known name closest to a mistyped one. Pure.
 */
import { closest, distance } from 'fastest-levenshtein'

/** `; did you mean X?`, or an empty string if no known name is near. */
export function didYouMean(name: string, known: readonly string[]): string {
  if (known.length === 0) return ''
  const near = closest(name, known)
  return distance(name, near) <= name.length / 2 ? `; did you mean ${near}?` : ''
}
