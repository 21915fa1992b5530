/**
 * What the log says, and whether it says what it must not: a confidence, or a fault that nobody foresaw. Pure.
 */
/** pino's number for `error`. */
const ERROR_LEVEL = 50

/** @param output all that one life of the gateway wrote; the last line of a killed one may be torn */
export function findLogBreaches(output: string, secrets: readonly string[]): string[] {
  const lines = output.split('\n')
  const lastLine = lines.pop()!
  return [
    ...[...lines, lastLine].flatMap(line =>
      secrets.filter(secret => line.includes(secret)).map(secret => `TOLD THE LOG "${secret}": ${line}`),
    ),
    ...lines.flatMap(line => {
      const { level } = parseLine(line)
      if (level === null) return [`SAID PAST THE LOG: ${line}`]
      return level >= ERROR_LEVEL ? [`LOGGED AN ERROR: ${line}`] : []
    }),
  ]
}

/** Predictions whose POST was given up after `ms` or more: the machine was busy, and nobody at fault. */
export const findTimedOutSubmits = (output: string, timeoutMs: number): string[] =>
  output
    .split('\n')
    .map(parseLine)
    .filter(record => record.outcome === 'unknown' && Number(record.ms) >= timeoutMs)
    .map(({ prediction }) => String(prediction))

interface LogRecord {
  level: number | null
  outcome?: unknown
  ms?: unknown
  prediction?: unknown
}

function parseLine(line: string): LogRecord {
  try {
    const { level, ...rest } = JSON.parse(line) as { level?: unknown }
    return { ...rest, level: typeof level === 'number' ? level : null }
  } catch {
    return { level: null }
  }
}
