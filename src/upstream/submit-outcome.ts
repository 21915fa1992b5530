/**
 * The outcome of the one POST, by SUBMIT_STATUS_OUTCOMES of status-tables.ts.
 * Invariant: every outcome that puts a job back into the queue (`unsent`, `account`, `throttled`) is certain, and so is
 * `rejected`. Everything else but `accepted` is `unknown`, because sending it again could charge twice.
 */
import type { SubmitOutcome } from '../domain/prediction.ts'
import { isPathSegment, predictionSchema, readEnvelope } from './response-schemas.ts'
import { parseRetryAfter } from './retry-after.ts'
import { CREDIT_WORDS, NO_CREDIT, SHORTAGE_WORDS, SUBMIT_STATUS_OUTCOMES } from './status-tables.ts'

export type SubmitResponse =
  | { status: number; retryAfter: string | null; body: string }
  /** No response was read. `unsent`: no connection was established, so not a byte of the request was sent. */
  | { failed: 'sent' | 'unsent' }

/** @param userSuppliedText parts of the response that may quote the app's input */
export function toSubmitOutcome(
  response: SubmitResponse,
  now: number,
  userSuppliedText: readonly string[] = [],
): SubmitOutcome {
  if ('failed' in response) return { kind: response.failed === 'unsent' ? 'unsent' : 'unknown' }

  const { code, message, data } = readEnvelope(response.body)
  const id = predictionSchema.parse(data)?.id ?? ''
  const isSuccess = response.status >= 200 && response.status < 300
  if (isSuccess && code === 200 && isPathSegment(id)) return { kind: 'accepted', upstreamId: id }
  // An id beside a refusal contradicts it: a job may exist. The same holds for an id that is unsafe in a path.
  if (id !== '') return { kind: 'unknown' }

  // On HTTP 2xx the envelope's code is the status. Otherwise no body can turn a 5xx or 3xx into a rejection.
  const status = isSuccess ? code : response.status
  const canRefuse = isSuccess || (status >= 400 && status < 500)
  if (canRefuse && (code === NO_CREDIT || isCreditError(message, userSuppliedText)))
    return { kind: 'account' }
  const kind = SUBMIT_STATUS_OUTCOMES[status] ?? 'unknown'
  return kind === 'throttled' ? { kind, retryAfterMs: parseRetryAfter(response.retryAfter, now) } : { kind }
}

/**
 * Whether one sentence of upstream's own words reports missing credit. Quoted user text is removed first: a
 * prompt about money does not count.
 */
export function isCreditError(message: string, userSuppliedText: readonly string[] = []): boolean {
  const upstreamText = userSuppliedText
    .reduce((text, userText) => text.replaceAll(userText, ' '), message)
    .replace(/https?:\S+|"[^"]*"|`[^`]*`|“[^”]*”/g, ' ')
    .replaceAll('_', ' ')
  return upstreamText
    .split(/[.!?;\n]/)
    .some(sentence => CREDIT_WORDS.test(sentence) && SHORTAGE_WORDS.test(sentence))
}
