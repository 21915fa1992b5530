/**
 * Sends an operation until it is answered.
 * Invariant: every attempt sends the same bytes.
 */
import { json } from 'node:stream/consumers'
import type { SeededRandom } from '../../../src/simulator/seeded-random.ts'
import { post } from '../../support/post.ts'
import { sleep } from '../../support/sleep.ts'

// biome-ignore lint/suspicious/noExplicitAny: the shape is the document's
export type ResponseData = any
export type ExecuteOperation = (query: string, variables?: object) => Promise<ResponseData>

const ATTEMPT_TIMEOUT_MS = 2000
const TOTAL_TIMEOUT_MS = 60_000
const RETRY_DELAY_MS = [30, 200] as const

/** @throws after a minute without an answer, or when `signal` aborts */
export function createRetryingClient(
  url: string,
  key: string,
  random: SeededRandom,
  signal: AbortSignal,
): ExecuteOperation {
  return async (query, variables = {}) => {
    let lastError = ''
    for (const deadline = Date.now() + TOTAL_TIMEOUT_MS; Date.now() < deadline; ) {
      signal.throwIfAborted()
      try {
        const { response } = post(url, key, { query, variables }, {}, AbortSignal.timeout(ATTEMPT_TIMEOUT_MS))
        const { data, errors } = (await json(await response)) as { data?: ResponseData; errors?: unknown }
        if (data && errors === undefined) return data
        lastError = JSON.stringify(errors)
      } catch (error) {
        lastError = String(error)
      }
      await sleep(random.between(...RETRY_DELAY_MS), signal)
    }
    throw new Error(`an operation was not answered for ${TOTAL_TIMEOUT_MS} ms; last error: ${lastError}`)
  }
}
