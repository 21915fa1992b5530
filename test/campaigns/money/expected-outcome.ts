/**
 * The outcome that an app must see for each upstream outcome. The contract is written a second time here,
 * deliberately without the gateway's code.
 */
import type { UpstreamJob } from './evidence.ts'

const OUTCOME_BY_STATUS: Readonly<Record<string, string>> = {
  cancelled: 'CANCELED',
  canceled: 'CANCELED',
  deleted: 'CANCELED',
  timeout: 'FAILED TIMED_OUT',
}
const ERROR_BY_CODE: Readonly<Record<number, string>> = {
  1200: 'CONTENT_REJECTED',
  1400: 'INVALID_INPUT',
  1401: 'INVALID_INPUT',
  1402: 'IMAGE_UNREACHABLE',
  5000: 'UPSTREAM_UNAVAILABLE',
  5003: 'UPSTREAM_UNAVAILABLE',
  5004: 'TIMED_OUT',
}

/** `COMPLETED`, `CANCELED`, or `FAILED` with its code. */
export function expectedOutcome({ end, code, hasOutput }: UpstreamJob): string {
  if (end === 'completed') return hasOutput ? 'COMPLETED' : 'FAILED NO_OUTPUT'
  return OUTCOME_BY_STATUS[end] ?? `FAILED ${(code !== null && ERROR_BY_CODE[code]) || 'GENERATION_FAILED'}`
}
