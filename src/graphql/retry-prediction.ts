/**
 * retryPrediction: a new prediction with the input of an old one, linked to it. It is charged again, so only
 * a person decides it.
 */

import { fullScope } from '../domain/access-scope.ts'
import type { Prediction } from '../domain/prediction.ts'
import { builder, WRITE_COST } from './builder.ts'
import type { Context } from './context.ts'
import {
  addGrantTags,
  answerMatch,
  checkSubmitPermission,
  createPrediction,
  fingerprint,
  idempotencyKeySchema,
  toIdempotency,
} from './create-prediction.ts'
import { decodeIdOf } from './global-id.ts'
import { type MutationError, mutationErrorTypes, resolveResultType } from './mutation-errors.ts'
import { PredictionType } from './prediction.ts'

const RetryPredictionInput = builder.inputType('RetryPredictionInput', {
  fields: t => ({
    id: t.id({ required: true, description: 'Of a FAILED or CANCELED one.' }),
    idempotencyKey: t.string({ description: 'As of submitVideo; the keys share one space.' }),
  }),
})
type RetryPredictionInput = typeof RetryPredictionInput.$inferInput

const RetryPredictionPayload = builder
  .objectRef<{ prediction: Prediction }>('RetryPredictionPayload')
  .implement({ fields: t => ({ prediction: t.expose('prediction', { type: PredictionType }) }) })

const RetryPredictionResult = builder.unionType('RetryPredictionResult', {
  types: [
    RetryPredictionPayload,
    mutationErrorTypes.NOT_FOUND,
    mutationErrorTypes.INVALID_INPUT,
    mutationErrorTypes.IDEMPOTENCY_CONFLICT,
    mutationErrorTypes.RATE_LIMITED,
    mutationErrorTypes.QUEUE_FULL,
    mutationErrorTypes.BUDGET_EXCEEDED,
    mutationErrorTypes.FORBIDDEN,
  ],
  resolveType: resolveResultType(RetryPredictionPayload),
})

builder.mutationField('retryPrediction', t =>
  t.field({
    type: RetryPredictionResult,
    description: 'Asks for the same again, as a new prediction with `retryOf`. It is charged like any other.',
    complexity: WRITE_COST,
    args: { input: t.arg({ type: RetryPredictionInput, required: true }) },
    resolve: (_root, { input }, context) => context.countRejections(retryPrediction(input, context)),
  }),
)

async function retryPrediction(
  input: RetryPredictionInput,
  context: Context,
): Promise<{ prediction: Prediction } | MutationError> {
  const { scope, store, now } = context
  const denied = checkSubmitPermission(context)
  if (denied !== null) return denied
  const parsedKey = idempotencyKeySchema.safeParse(input.idempotencyKey)
  if (!parsedKey.success)
    return invalid('idempotencyKey', ...parsedKey.error.issues.map(issue => issue.message))
  const original = await store.get(scope, decodeIdOf('Prediction', input.id))
  if (original === null) return { code: 'NOT_FOUND' }
  const idempotency = toIdempotency(context, parsedKey.data, fingerprint({ retryOf: original.id }))
  // Comes first: an earlier request with this key gets the same prediction again, even if the original has
  // been corrected since.
  const earlier = idempotency && (await store.findByIdempotencyKey(scope.appId, idempotency, now()))
  if (earlier) return answerMatch(earlier, context)
  if (original.status !== 'FAILED' && original.status !== 'CANCELED')
    return invalid('id', `expected a FAILED or CANCELED prediction; this one is ${original.status}`)

  const { model, input: originalInput, tags, metadata, uploadId } = original
  // Read with the app's full scope: a caller who sees the prediction may retry it, regardless of who uploaded
  // its image.
  const [upload] = uploadId ? await store.getUploads(fullScope(scope.appId), [uploadId], now()) : []
  if (upload === null) return invalid('id', 'its uploaded image has expired; upload it again and submit anew')
  const request = {
    model,
    input: originalInput,
    tags: addGrantTags(context, tags),
    metadata,
    retryOf: original.id,
    uploadId,
  }
  return createPrediction(request, idempotency, context)
}

const invalid = (field: string, ...messages: string[]): MutationError => ({
  code: 'INVALID_INPUT',
  issues: messages.map(message => ({ path: ['input', field], message })),
})
