/**
 * A word in each prompt by which its job is known everywhere, and a leak of it in the log.
 */
export const MARKER_WORD = 'heron'

export const createMarker = (app: string, n: number): string => `${MARKER_WORD}-${app}-${n}`

export const findMarker = (prompt: string): string =>
  /\bheron-\w+-\d+\b/.exec(prompt)?.[0] ?? `none in "${prompt}"`
