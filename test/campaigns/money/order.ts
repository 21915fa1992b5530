/**
 * A request for a video, under an idempotency key, and what its app is told.
 * Invariant: every answer is kept; one that nobody may get is a breach by itself.
 */
import type { Random } from '../../../src/simulator/seeded-random.ts'
import type { Ask } from './ask.ts'
import type { Promised } from './case.ts'
import { SUBMIT } from './documents.ts'
import { newMarker } from './marker.ts'
import type { Told } from './told.ts'

export interface Order {
  /** Answers with the prediction's global id; null where it was refused. */
  send(): Promise<string | null>
}

export interface Desk {
  /** A request to be sent, as often as one likes. */
  order(document: string, input: object, promise: Omit<Promised, 'app' | 'ids'>): Order
  /** The `n`th job of the app. @param words that steer the simulator */
  video(n: number, model: string, words: string): Order
}

export function createDesk(app: string, ask: Ask, image: string, told: Told): Desk {
  const desk: Desk = {
    order(document, input, promise) {
      const keep = told.expect({ ...promise, app })
      return {
        async send() {
          const { answer } = await ask(document, { input })
          if (answer.prediction) keep(answer.prediction.id)
          // What was unknown may have turned out to be completed, and can't be retried then.
          else if (promise.retryOf === null || answer.__typename !== 'InvalidInputError')
            told.fail(`${promise.key} of ${app} was answered with ${JSON.stringify(answer)}`)
          return answer.prediction?.id ?? null
        },
      }
    },
    video(n, model, words) {
      const marker = newMarker(app, n)
      const key = `job ${n}`
      const input = { model, image: { url: image }, prompt: `a ${marker} ${words}`, idempotencyKey: key }
      return desk.order(SUBMIT, input, { key, marker, retryOf: null })
    },
  }
  return desk
}

/** A number of seconds, in tenths, as a word in a prompt. */
export const lasting = (random: Random, tenths: readonly [number, number]): string =>
  `sim:seconds=${random.between(...tenths) / 10}`
