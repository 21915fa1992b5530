/**
 * The log: one line for each event, as JSON, or as readable text on a terminal.
 * Invariant: no line contains a key, a prompt or an image URL. An error is logged by type, code, message and
 * stack only. A database error is logged as its cause, because its own message has the parameters, which an
 * app wrote.
 */
import { type Logger, pino, stdSerializers } from 'pino'

export interface Log {
  debug(fields: object, message: string): void
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}

export async function createLog(level: string, stream = process.stderr): Promise<Logger> {
  const options = { level, base: null, serializers: { err: serializeError } }
  if (!stream.isTTY) return pino(options, stream)
  const { default: pretty } = await import('pino-pretty')
  return pino(
    options,
    pretty({
      sync: true,
      destination: stream.fd,
      translateTime: 'SYS:HH:MM:ss',
      ignore: 'pid,hostname',
      singleLine: true,
    }),
  )
}

function serializeError(error: unknown): unknown {
  if (!(error instanceof Error)) return { message: String(error) }
  const cause = error.name === 'DrizzleQueryError' && error.cause instanceof Error ? error.cause : error
  const { type, message, stack } = stdSerializers.err(cause)
  const { code } = cause as NodeJS.ErrnoException
  return { type, code, message, stack }
}
