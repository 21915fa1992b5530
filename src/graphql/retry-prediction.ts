/**
 * retryPrediction: a new prediction with an old one's input, linked to it. A person's decision, for it is charged anew.
 */

import { wholeOf } from '../domain/access-scope.ts'
import type { Prediction } from '../domain/prediction.ts'
import { builder, WRITE_COST } from './builder.ts'
import type { Context } from './context.ts'
import { accept, fingerprint, forbidden, idempotencyKey, requestOf, taggedFor } from './create-prediction.ts'
import { decodeIdOf } from './global-id.ts'
import { type Refusal, refusals } from './mutation-errors.ts'
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
    refusals.NOT_FOUND,
    refusals.INVALID_INPUT,
    refusals.IDEMPOTENCY_CONFLICT,
    refusals.RATE_LIMITED,
    refusals.QUEUE_FULL,
    refusals.BUDGET_EXCEEDED,
    refusals.FORBIDDEN,
  ],
  resolveType: result => ('code' in result ? refusals[result.code] : RetryPredictionPayload),
})

builder.mutationField('retryPrediction', t =>
  t.field({
    type: RetryPredictionResult,
    description: 'Asks for the same again, as a new prediction with `retryOf`. It is charged like any other.',
    complexity: WRITE_COST,
    args: { input: t.arg({ type: RetryPredictionInput, required: true }) },
    resolve: (_root, { input }, context) => context.told(retryPrediction(input, context)),
  }),
)

async function retryPrediction(
  input: RetryPredictionInput,
  context: Context,
): Promise<{ prediction: Prediction } | Refusal> {
  const { scope, store, now } = context
  const barred = forbidden(context)
  if (barred !== null) return barred
  const key = idempotencyKey.safeParse(input.idempotencyKey)
  if (!key.success) return invalid('idempotencyKey', ...key.error.issues.map(issue => issue.message))
  const old = await store.get(scope, decodeIdOf('Prediction', input.id))
  if (old === null) return { code: 'NOT_FOUND' }
  const idempotency = requestOf(context, key.data, fingerprint({ retryOf: old.id }))
  // First: the same request is answered with the same prediction, though the old one may have been corrected since.
  const earlier = idempotency && (await store.repeated(scope.appId, idempotency, now()))
  if (earlier) return earlier.kind === 'conflict' ? { code: 'IDEMPOTENCY_CONFLICT', ...earlier } : earlier
  if (old.status !== 'FAILED' && old.status !== 'CANCELED')
    return invalid('id', `expected a FAILED or CANCELED prediction; this one is ${old.status}`)

  const { model, input: asked, tags, metadata, uploadId } = old
  // The app's: whoever sees the prediction may ask for it again, whoever uploaded its image.
  const [upload] = uploadId ? await store.uploads(wholeOf(scope.appId), [uploadId], now()) : []
  if (upload === null) return invalid('id', 'its uploaded image has expired; upload it again and submit anew')
  const again = { model, input: asked, tags: taggedFor(context, tags), metadata, retryOf: old.id, uploadId }
  return accept(again, idempotency, context)
}

const invalid = (field: string, ...messages: string[]): Refusal => ({
  code: 'INVALID_INPUT',
  issues: messages.map(message => ({ path: ['input', field], message })),
})
