/**
 * What came back from the one POST, and what the money table makes of it.
 * Invariant: "unsent" and every refusal that puts a job back into the queue are certain; whatever is not certain is
 * `unknown`, for sending it again could charge twice.
 */
import type { SubmitOutcome } from '../domain/prediction.ts'
import { isPathSegment, prediction, readEnvelope } from './response-schemas.ts'
import { LACK, MONEY, NO_CREDIT, REFUSALS } from './status-tables.ts'

export type Answer =
  | { status: number; retryAfter: string | null; body: string }
  /** The transport's error: no answer was read. */
  | { error: unknown }

/** Nothing can have been sent: the connection never stood, or the host was not to be trusted. */
const CONNECTING = new Set(['connect', 'getaddrinfo'])
const NO_CONNECTION =
  /^(ECONNREFUSED|ENOTFOUND|EAI_AGAIN|E(HOST|NET)(UNREACH|DOWN)|ETIMEDOUT|EADDRNOTAVAIL|EPERM|EACCES)$/
const NEVER_STOOD =
  /^(UND_ERR_CONNECT_TIMEOUT|CERT_.*|ERR_TLS_CERT_.*|DEPTH_ZERO_.*|SELF_SIGNED_.*|UNABLE_TO_.*)$/

const LONGEST_BACKOFF_MS = 60 * 60 * 1000

/** @param quotable what the answer may have of the app itself */
export function outcomeOf(answer: Answer, now: number, quotable: readonly string[] = []): SubmitOutcome {
  if ('error' in answer) return { kind: neverConnected(answer.error) ? 'unsent' : 'unknown' }

  const { code, message, data } = readEnvelope(answer.body)
  const id = prediction.parse(data)?.id ?? ''
  const isSuccess = answer.status >= 200 && answer.status < 300
  if (isSuccess && code === 200 && isPathSegment(id)) return { kind: 'accepted', upstreamId: id }
  // An id beside a refusal contradicts it: something may exist. So may it under an id that can't be asked for.
  if (id !== '') return { kind: 'unknown' }

  // On HTTP 200 the envelope's code is the status. Past that no body can soften a 5xx or a 3xx.
  const status = isSuccess ? code : answer.status
  const canRefuse = isSuccess || (status >= 400 && status < 500)
  if (canRefuse && (code === NO_CREDIT || saysNoCredit(message, quotable))) return { kind: 'account' }
  const kind = REFUSALS[status] ?? 'unknown'
  return kind === 'throttled' ? { kind, retryAfterMs: backoff(answer.retryAfter, now) } : { kind }
}

/** In one sentence of upstream's own. What it quotes is the app's: a prompt about money is none. */
export function saysNoCredit(message: string, quotable: readonly string[] = []): boolean {
  const own = quotable
    .reduce((text, quoted) => text.replaceAll(quoted, ' '), message)
    .replace(/https?:\S+|"[^"]*"|`[^`]*`|“[^”]*”/g, ' ')
    .replaceAll('_', ' ')
  return own.split(/[.!?;\n]/).some(sentence => MONEY.test(sentence) && LACK.test(sentence))
}

function neverConnected(error: unknown): boolean {
  // A name with several addresses fails with one error per address.
  if (error instanceof AggregateError) return error.errors.length > 0 && error.errors.every(neverConnected)
  const { code = '', syscall = '' } = (error ?? {}) as NodeJS.ErrnoException
  // The code alone does not tell: a read or a write that fails with EHOSTUNREACH may have sent the request.
  return (CONNECTING.has(syscall) && NO_CONNECTION.test(code)) || NEVER_STOOD.test(code)
}

/** `Retry-After`, seconds or a date, as milliseconds from now; null if there is none to read. */
export function backoff(header: string | null, now: number): number | null {
  const text = header?.trim() ?? ''
  const isDate = /^[a-z]{3}/i.test(text)
  const ms = /^\d+$/.test(text) ? Number(text) * 1000 : isDate ? Date.parse(text) - now : Number.NaN
  return Number.isNaN(ms) ? null : Math.min(Math.max(ms, 1000), LONGEST_BACKOFF_MS)
}
