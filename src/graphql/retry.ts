/**
 * retryPrediction: a new prediction with an old one's input, linked to it. A person's decision, for it is charged anew.
 */
import { MODELS } from '../models.ts'
import type { Prediction } from '../prediction.ts'
import { builder } from './builder.ts'
import type { Context } from './context.ts'
import { decodeIdOf } from './id.ts'
import { fingerprint, idempotencyKey } from './idempotency.ts'
import { PredictionType } from './prediction.ts'
import { type Refusal, refusals } from './refusal.ts'

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
    args: { input: t.arg({ type: RetryPredictionInput, required: true }) },
    resolve: (_root, { input }, context) => retryPrediction(input, context),
  }),
)

async function retryPrediction(
  input: RetryPredictionInput,
  { appId, store, now }: Context,
): Promise<{ prediction: Prediction } | Refusal> {
  const key = idempotencyKey.safeParse(input.idempotencyKey)
  if (!key.success) return invalid('idempotencyKey', ...key.error.issues.map(issue => issue.message))
  const old = await store.get(appId, decodeIdOf('Prediction', input.id))
  if (old === null) return { code: 'NOT_FOUND' }
  const at = now()
  const idempotency =
    key.data === null ? null : { key: key.data, fingerprint: fingerprint({ retryOf: old.id }) }
  // First: the same request is answered with the same prediction, though the old one may have been corrected since.
  const earlier = idempotency && (await store.repeated(appId, idempotency, at))
  if (!earlier && old.status !== 'FAILED' && old.status !== 'CANCELED')
    return invalid('id', `expected a FAILED or CANCELED prediction; this one is ${old.status}`)

  const { model, input: asked, tags, metadata } = old
  const draft = { appId, model, input: asked, tags, metadata, retryOf: old.id, cost: MODELS[model].price }
  const { kind, prediction } = earlier || (await store.create(draft, idempotency, at))
  return kind === 'conflict' ? { code: 'IDEMPOTENCY_CONFLICT', prediction } : { prediction }
}

const invalid = (field: string, ...messages: string[]): Refusal => ({
  code: 'INVALID_INPUT',
  issues: messages.map(message => ({ path: ['input', field], message })),
})
