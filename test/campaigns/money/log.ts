/**
 * What the log says, and whether it says what it must not: a confidence, or a fault that nobody foresaw. Pure.
 */
/** pino's number for `error`. */
const ERROR = 50

/** @param life all that one life of the gateway wrote; the last line of a killed one may be torn */
export function indiscretions(life: string, confidences: readonly string[]): string[] {
  const lines = life.split('\n')
  const last = lines.pop()!
  return [
    ...[...lines, last].flatMap(line =>
      confidences.filter(secret => line.includes(secret)).map(secret => `TOLD THE LOG "${secret}": ${line}`),
    ),
    ...lines.flatMap(line => {
      const { level } = parsed(line)
      if (level === null) return [`SAID PAST THE LOG: ${line}`]
      return level >= ERROR ? [`LOGGED AN ERROR: ${line}`] : []
    }),
  ]
}

/** Predictions whose POST was given up after `ms` or more: the machine was busy, and nobody at fault. */
export const givenUp = (life: string, ms: number): string[] =>
  life
    .split('\n')
    .map(parsed)
    .filter(line => line.outcome === 'unknown' && Number(line.ms) >= ms)
    .map(({ prediction }) => String(prediction))

interface Line {
  level: number | null
  outcome?: unknown
  ms?: unknown
  prediction?: unknown
}

function parsed(line: string): Line {
  try {
    const { level, ...rest } = JSON.parse(line) as { level?: unknown }
    return { ...rest, level: typeof level === 'number' ? level : null }
  } catch {
    return { level: null }
  }
}
