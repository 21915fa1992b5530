/**
 * Builds repeatable requests under idempotency keys.
 * Invariant: every answer is recorded. An answer that must not occur is a breach.
 */
import type { SeededRandom } from '../../../src/simulator/seeded-random.ts'
import type { AppHistory } from './app-history.ts'
import { SUBMIT } from './documents.ts'
import type { AppRequest } from './evidence.ts'
import { createMarker } from './prompt-marker.ts'
import type { ExecuteOperation } from './retrying-client.ts'

export interface RepeatableRequest {
  /** Returns the prediction's global id; null if rejected. */
  send(): Promise<string | null>
}

export interface RequestFactory {
  /** A request that may be sent many times. */
  create(document: string, input: object, request: Omit<AppRequest, 'app' | 'ids'>): RepeatableRequest
  /** The app's `n`th job. @param promptWords steer the simulator */
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
          // A prediction of unknown outcome may have completed since, and then can't be retried.
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

/** A word of the prompt that sets the job's duration upstream. */
export const durationWord = (random: SeededRandom, durationTenths: readonly [number, number]): string =>
  `sim:seconds=${random.between(...durationTenths) / 10}`
