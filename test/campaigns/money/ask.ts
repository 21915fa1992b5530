/**
 * An operation of an app, sent again until it is answered.
 * Invariant: whatever the gateway is going through, the same operation, to the letter.
 */
import { json } from 'node:stream/consumers'
import type { Random } from '../../../src/simulator/seeded-random.ts'
import { post } from '../../support/post.ts'
import { rest } from '../../support/rest.ts'

// biome-ignore lint/suspicious/noExplicitAny: the shape is the document's
export type Data = any
export type Ask = (query: string, variables?: object) => Promise<Data>

const ANSWER_MS = 2000
const PATIENCE_MS = 60_000
const AGAIN_MS = [30, 200] as const

/** @throws where it was not answered for a minute, or once `halt` aborts */
export function createAsk(url: string, key: string, random: Random, halt: AbortSignal): Ask {
  return async (query, variables = {}) => {
    let last = ''
    for (const deadline = Date.now() + PATIENCE_MS; Date.now() < deadline; ) {
      halt.throwIfAborted()
      try {
        const { response } = post(url, key, { query, variables }, {}, AbortSignal.timeout(ANSWER_MS))
        const { data, errors } = (await json(await response)) as { data?: Data; errors?: unknown }
        if (data && errors === undefined) return data
        last = JSON.stringify(errors)
      } catch (error) {
        last = String(error)
      }
      await rest(random.between(...AGAIN_MS), halt)
    }
    throw new Error(`an operation was not answered for ${PATIENCE_MS} ms, at last with ${last}`)
  }
}
