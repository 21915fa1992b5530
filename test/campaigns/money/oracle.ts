/**
 * What an app must be told of a job that ended so upstream: the contract's words, once more and on purpose not the gateway's.
 */
import type { LedgerJob } from './case.ts'

const BY_END: Readonly<Record<string, string>> = {
  cancelled: 'CANCELED',
  canceled: 'CANCELED',
  deleted: 'CANCELED',
  timeout: 'FAILED TIMED_OUT',
}
const BY_CODE: Readonly<Record<number, string>> = {
  1200: 'CONTENT_REJECTED',
  1400: 'INVALID_INPUT',
  1401: 'INVALID_INPUT',
  1402: 'IMAGE_UNREACHABLE',
  5000: 'UPSTREAM_UNAVAILABLE',
  5003: 'UPSTREAM_UNAVAILABLE',
  5004: 'TIMED_OUT',
}

/** `COMPLETED`, `CANCELED`, or `FAILED` with its code. */
export function foretold({ end, code, hasOutput }: LedgerJob): string {
  if (end === 'completed') return hasOutput ? 'COMPLETED' : 'FAILED NO_OUTPUT'
  return BY_END[end] ?? `FAILED ${(code !== null && BY_CODE[code]) || 'GENERATION_FAILED'}`
}
