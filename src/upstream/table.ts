/**
 * The upstream contract's tables, as data: what a submit's answer means for money, what a status and a business code mean.
 * Invariant: what is not in them never ends a paid job and never sends one again: an answer is `unknown`, a status
 * "keep waiting", a code GENERATION_FAILED on a job that upstream itself calls failed.
 */
import type { PredictionErrorCode } from '../errors.ts'
import type { Observation, SubmitOutcome } from '../prediction.ts'

/** The account has no credit: said by a code, whatever the HTTP status below 500, or only in words. */
export const NO_CREDIT = 1407
export const NO_CREDIT_WORDS = new RegExp(
  [
    /\b(insufficient|sufficient|not enough|out of)[\s-](\w+[\s-])?(credit|balance|fund)s?\b/,
    /\b(credit|balance|fund)s?\b.{0,12}\b(insufficient|not enough|too low|exhausted)\b/,
    /\bno (credit|balance|fund)s? (left|remaining|available)\b/,
  ]
    .map(words => words.source)
    .join('|'),
  'i',
)

/** A submit's HTTP status, or on 2xx the envelope's code. 200 with an id is accepted. */
export const REFUSALS: Readonly<
  Record<number, Extract<SubmitOutcome['kind'], 'rejected' | 'account' | 'throttled'>>
> = {
  400: 'rejected',
  401: 'account',
  402: 'account',
  403: 'account',
  404: 'rejected',
  422: 'rejected',
  429: 'throttled',
}

/** A prediction's status. */
export const MEANINGS: Readonly<Record<string, Observation['status'] | 'timed out'>> = {
  created: 'waiting',
  pending: 'waiting',
  queued: 'waiting',
  starting: 'processing',
  running: 'processing',
  in_progress: 'processing',
  processing: 'processing',
  completed: 'completed',
  succeeded: 'completed',
  success: 'completed',
  failed: 'failed',
  timeout: 'timed out',
  cancelled: 'canceled',
  canceled: 'canceled',
  deleted: 'canceled',
}

/** The business code of a failed job. */
export const ERRORS: Readonly<Record<number, PredictionErrorCode>> = {
  1200: 'CONTENT_REJECTED',
  1400: 'INVALID_INPUT',
  1401: 'INVALID_INPUT',
  1402: 'IMAGE_UNREACHABLE',
  1403: 'GENERATION_FAILED',
  1405: 'GENERATION_FAILED',
  1406: 'GENERATION_FAILED',
  1407: 'GENERATION_FAILED',
  5000: 'UPSTREAM_UNAVAILABLE',
  5003: 'UPSTREAM_UNAVAILABLE',
  5004: 'TIMED_OUT',
}
