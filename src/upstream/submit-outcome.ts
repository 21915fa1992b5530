/**
 * The outcome of the one POST, by SUBMIT_STATUS_OUTCOMES of status-tables.ts.
 * Invariant: every outcome that puts a job back into the queue (`unsent`, `account`, `model`, `throttled`) is certain, and
 * so is `rejected`. Everything else but `accepted` is `unknown`, because sending it again could charge twice. Only what
 * can't be the app's own words accuses the account or the model, because both concern other apps.
 */
import type { SubmitOutcome } from '../domain/prediction.ts'
import { isPathSegment, predictionSchema, readEnvelope } from './response-schemas.ts'
import { parseRetryAfter } from './retry-after.ts'
import {
  ABSENCE_WORDS,
  CREDIT_WORDS,
  INPUT_WORDS,
  MODEL_WORDS,
  NO_CREDIT,
  SHORTAGE_WORDS,
  SUBMIT_STATUS_OUTCOMES,
} from './status-tables.ts'

export type SubmitResponse =
  | { status: number; retryAfter: string | null; body: string }
  /** No response was read. `unsent`: no connection was established, so not a byte of the request was sent. */
  | { failed: 'sent' | 'unsent' }

/** `perhaps account`: a refusal that reports missing credit, perhaps in words of the app. The balance decides. */
export type SubmitVerdict = SubmitOutcome | { kind: 'perhaps account'; otherwise: SubmitOutcome }

/** What the POST had that the answer may repeat. */
export interface SentSubmit {
  modelId: string
  /** The app's own text. */
  userSuppliedText: readonly string[]
}

export function toSubmitOutcome(
  response: SubmitResponse,
  now: number,
  { modelId, userSuppliedText }: SentSubmit,
): SubmitVerdict {
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
  const creditError = canRefuse ? findCreditError(message, userSuppliedText) : 'no'
  if (canRefuse && (code === NO_CREDIT || creditError === 'certain')) return { kind: 'account' }
  const kind = SUBMIT_STATUS_OUTCOMES[status] ?? 'unknown'
  if (kind === 'throttled') return { kind, retryAfterMs: parseRetryAfter(response.retryAfter, now) }
  if (kind !== 'rejected') return { kind }
  const outcome: SubmitOutcome = refusesModel(message, modelId, userSuppliedText)
    ? { kind: 'model' }
    : { kind }
  return creditError === 'no' ? outcome : { kind: 'perhaps account', otherwise: outcome }
}

/**
 * Whether one sentence reports missing credit. `certain`: with words that the app has not used, so that they are
 * upstream's. `perhaps`: an answer may quote the app's text whole, cut, or in another case, and a prompt about money must
 * not accuse the account.
 */
export function findCreditError(
  message: string,
  userSuppliedText: readonly string[] = [],
): 'certain' | 'perhaps' | 'no' {
  const sentences = toSentences(
    message.replace(/https?:\S+|"[^"]*"|`[^`]*`|“[^”]*”/g, ' ').replaceAll('_', ' '),
  )
  const ownText = squash(userSuppliedText.join(' '))
  if (sentences.some(sentence => hasBoth(sentence, CREDIT_WORDS, SHORTAGE_WORDS, ownText))) return 'certain'
  return sentences.some(sentence => hasBoth(sentence, CREDIT_WORDS, SHORTAGE_WORDS, '')) ? 'perhaps' : 'no'
}

/** Whether upstream says, in its own words, that it does not offer the model, and nothing about an input. */
function refusesModel(message: string, modelId: string, userSuppliedText: readonly string[]): boolean {
  const ownText = squash(userSuppliedText.join(' '))
  // The id would end the sentence at its dot. In an app's text it proves nothing.
  const named = ownText.includes(squash(modelId)) ? message : message.replaceAll(modelId, MODEL_MARK)
  if (INPUT_WORDS.test(named)) return false
  return toSentences(named).some(
    sentence =>
      hasBoth(sentence, MODEL_WORDS, ABSENCE_WORDS, ownText) ||
      (sentence.includes(MODEL_MARK) && findOwnWords(sentence, ABSENCE_WORDS, ownText)),
  )
}
/** No message has it. */
const MODEL_MARK = '\u0001'

const toSentences = (message: string): string[] => message.split(/[.!?;\n]/)

const hasBoth = (sentence: string, first: RegExp, second: RegExp, userText: string): boolean =>
  findOwnWords(sentence, first, userText) && findOwnWords(sentence, second, userText)

/** Whether a match is not part of the app's text. */
const findOwnWords = (sentence: string, words: RegExp, userText: string): boolean =>
  [...sentence.matchAll(words)].some(([match]) => userText === '' || !userText.includes(squash(match)))

/** Letters and digits only, so that a quotation in another case, cut, escaped or without its accents is found. */
const squash = (text: string): string =>
  text
    .normalize('NFKD')
    .replace(/[^\p{L}\p{N}]+/gu, '')
    .toLowerCase()
