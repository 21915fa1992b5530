/**
 * The money table: what came back from the one POST, and what it means.
 * Invariant: "unsent" and every refusal that puts a job back into the queue are certain; whatever is not certain is
 * `unknown`, for sending it again could charge twice.
 */
import type { SubmitOutcome } from '../prediction.ts'
import { envelope, prediction } from './payload.ts'

export type Answer =
  | { status: number; retryAfter: string | null; body: string }
  /** The transport's error: no answer was read. */
  | { error: unknown }

/** The account has no credit: said by a code, or only in words. */
const NO_CREDIT = 1407
const NO_CREDIT_WORDS =
  /insufficient\s+(account\s+)?(credit|balance|fund)|(credit|balance)s?\s+(is|are)?\s*(insufficient|exhausted)|not enough credit/i

/** Nothing can have been sent: there was no connection, or no trusted one, to send it over. */
const NO_CONNECTION = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'EHOSTDOWN',
  'ENETDOWN',
  'UND_ERR_CONNECT_TIMEOUT',
])

const NOT_TRUSTED = /^(CERT_|ERR_TLS_CERT_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_)/

const LONGEST_BACKOFF_MS = 60 * 60 * 1000

export function outcomeOf(answer: Answer, now: number): SubmitOutcome {
  if ('error' in answer) return { kind: neverConnected(answer.error) ? 'unsent' : 'unknown' }

  const { code, message, data } = readEnvelope(answer.body)
  const id = prediction.parse(data)?.id ?? ''
  const isSuccess = answer.status >= 200 && answer.status < 300
  if (isSuccess && code === 200 && id !== '') return { kind: 'accepted', upstreamId: id }
  // An id beside a refusal contradicts it: something may exist.
  if (id !== '') return { kind: 'unknown' }

  // On HTTP 200 the envelope's code is the status. Past that no body can soften a 5xx or a 3xx.
  const status = isSuccess ? code : answer.status
  const canRefuse = isSuccess || (status >= 400 && status < 500)
  if (canRefuse && (code === NO_CREDIT || NO_CREDIT_WORDS.test(message))) return { kind: 'account' }
  switch (status) {
    case 400:
    case 404:
    case 422:
      return { kind: 'rejected' }
    case 401:
    case 402:
    case 403:
      return { kind: 'account' }
    case 429:
      return { kind: 'throttled', retryAfterMs: backoff(answer.retryAfter, now) }
    default:
      return { kind: 'unknown' }
  }
}

function readEnvelope(body: string) {
  try {
    return envelope.parse(JSON.parse(body))
  } catch {
    return { code: Number.NaN, message: '', data: null }
  }
}

function neverConnected(error: unknown): boolean {
  // A name with several addresses fails with one error per address.
  if (error instanceof AggregateError) return error.errors.length > 0 && error.errors.every(neverConnected)
  const code = String((error as { code?: unknown } | null)?.code)
  return NO_CONNECTION.has(code) || NOT_TRUSTED.test(code)
}

/** `Retry-After`, seconds or a date, as milliseconds from now; null if there is none to read. */
export function backoff(header: string | null, now: number): number | null {
  if (header === null || header.trim() === '') return null
  const ms = /^\s*\d+\s*$/.test(header) ? Number(header) * 1000 : Date.parse(header) - now
  return Number.isNaN(ms) ? null : Math.min(Math.max(ms, 1000), LONGEST_BACKOFF_MS)
}
