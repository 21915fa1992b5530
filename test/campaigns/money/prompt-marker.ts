/**
 * A word in each prompt that identifies its job everywhere, and its leak in the log.
 */
export const MARKER_WORD = 'heron'

export const createMarker = (app: string, n: number): string => `${MARKER_WORD}-${app}-${n}`

export const findMarker = (prompt: string): string =>
  /\bheron-\w+-\d+\b/.exec(prompt)?.[0] ?? `none in "${prompt}"`
