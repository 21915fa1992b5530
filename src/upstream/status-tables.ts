/**
 * The upstream contract's tables as data: submit statuses, job statuses, business codes.
 * Invariant: an unlisted value never ends a paid job and never sends one again. An unlisted submit status is
 * `unknown`, an unlisted job status "keep waiting", an unlisted code GENERATION_FAILED, and only on a job
 * that upstream calls failed.
 */
import type { PredictionErrorCode } from '../domain/errors.ts'
import type { Observation, SubmitOutcome } from '../domain/prediction.ts'

/** The account has no credit: reported by this code, whatever the HTTP status below 500, or only in words. */
export const NO_CREDIT = 1407
/** A credit error has a word of both lists in one sentence. */
export const CREDIT_WORDS = /\b(credit|balance|fund|quota|account)s?\b/gi
export const SHORTAGE_WORDS =
  /\b(in|not )sufficient\b|(\bnot|n['’]t|\bno longer)( \w+)? enough\b|\b(out of|too low|below|exceeded|exhausted|depleted|used up|recharge)\b|\btop[ -]?up\b|\bno \w+ (left|remaining|available)\b/gi
/** A refusal of the model has a word of both lists in one sentence, and no word for an input anywhere. */
export const MODEL_WORDS = /\bmodels?\b/gi
export const ABSENCE_WORDS =
  /(\bnot|\bno longer|n['’]t) (currently )?(found|available|supported|offered|enabled|exist|served)\b|\b(unavailable|unsupported|unknown|deprecated|retired|disabled|offline|removed|discontinued|decommissioned)\b|\b(no such|invalid) model\b/gi
export const INPUT_WORDS =
  /\b(image|prompt|negative|duration|seed|expansion|size|resolution|input|parameter|param|field|content|url|value)s?\b/i

/** A submit's HTTP status, or on 2xx the envelope's code. 200 with an id is accepted. */
export const SUBMIT_STATUS_OUTCOMES: Readonly<
  Record<number, Extract<SubmitOutcome['kind'], 'rejected' | 'account' | 'model' | 'throttled'>>
> = {
  400: 'rejected',
  401: 'account',
  402: 'account',
  403: 'account',
  404: 'model',
  422: 'rejected',
  429: 'throttled',
}

/** Ticket statuses that mean the image itself is rejected. */
export const REJECTED_UPLOAD_STATUSES: ReadonlySet<number> = new Set([400, 413, 422])

/** A job's status. */
export const STATUS_MAP: Readonly<Record<string, Observation['status'] | 'timed out'>> = {
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

/** A failed job's business code. */
export const CODE_MAP: Readonly<Record<number, PredictionErrorCode>> = {
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
