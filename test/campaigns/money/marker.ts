/**
 * A word in each prompt by which its job is known everywhere, and a leak of it in the log.
 */
export const MARK = 'heron'

export const newMarker = (app: string, n: number): string => `${MARK}-${app}-${n}`

export const markerOf = (prompt: string): string =>
  /\bheron-\w+-\d+\b/.exec(prompt)?.[0] ?? `none in "${prompt}"`
