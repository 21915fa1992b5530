/**
 * Searches the log for what it must not contain: secrets and unexpected errors. Pure.
 */
/** pino's number for the level `error`. */
const ERROR_LEVEL = 50

/** @param output all that one process wrote; a killed process may leave a torn last line */
export function findLogBreaches(output: string, secrets: readonly string[]): string[] {
  const lines = output.split('\n')
  const lastLine = lines.pop()!
  return [
    ...[...lines, lastLine].flatMap(line =>
      secrets.filter(secret => line.includes(secret)).map(secret => `SECRET IN LOG "${secret}": ${line}`),
    ),
    ...lines.flatMap(line => {
      const { level } = parseLine(line)
      if (level === null) return [`NOT A LOG LINE: ${line}`]
      return level >= ERROR_LEVEL ? [`LOGGED AN ERROR: ${line}`] : []
    }),
  ]
}

/** Predictions whose POST took `timeoutMs` or more: the machine was busy, which is no fault of the gateway. */
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
