/**
 * A request for a video, under an idempotency key, and what its app is told.
 * Invariant: every answer is kept; one that nobody may get is a breach by itself.
 */
import type { SeededRandom } from '../../../src/simulator/seeded-random.ts'
import type { AppHistory } from './app-history.ts'
import { SUBMIT } from './documents.ts'
import type { AppRequest } from './evidence.ts'
import { createMarker } from './prompt-marker.ts'
import type { ExecuteOperation } from './retrying-client.ts'

export interface RepeatableRequest {
  /** Answers with the prediction's global id; null where it was refused. */
  send(): Promise<string | null>
}

export interface RequestFactory {
  /** A request to be sent, as often as one likes. */
  create(document: string, input: object, request: Omit<AppRequest, 'app' | 'ids'>): RepeatableRequest
  /** The `n`th job of the app. @param promptWords that steer the simulator */
  createVideo(n: number, model: string, promptWords: string): RepeatableRequest
}

export function createRequestFactory(
  app: string,
  execute: ExecuteOperation,
  imageUrl: string,
  history: AppHistory,
): RequestFactory {
  const factory: RequestFactory = {
    create(document, input, request) {
      const recordAnswer = history.registerRequest({ ...request, app })
      return {
        async send() {
          const { answer } = await execute(document, { input })
          if (answer.prediction) recordAnswer(answer.prediction.id)
          // What was unknown may have turned out to be completed, and can't be retried then.
          else if (request.retryOf === null || answer.__typename !== 'InvalidInputError')
            history.recordBreach(`${request.key} of ${app} was answered with ${JSON.stringify(answer)}`)
          return answer.prediction?.id ?? null
        },
      }
    },
    createVideo(n, model, promptWords) {
      const marker = createMarker(app, n)
      const key = `job ${n}`
      const input = {
        model,
        image: { url: imageUrl },
        prompt: `a ${marker} ${promptWords}`,
        idempotencyKey: key,
      }
      return factory.create(SUBMIT, input, { key, marker, retryOf: null })
    },
  }
  return factory
}

/** A number of seconds, in tenths, as a word in a prompt. */
export const durationWord = (random: SeededRandom, durationTenths: readonly [number, number]): string =>
  `sim:seconds=${random.between(...durationTenths) / 10}`
