/**
 * cancelPrediction: a job that was not sent never will be. A job that was sent runs on upstream, and the
 * payload says so.
 */

import { mayFollow } from '../domain/access-scope.ts'
import type { Prediction } from '../domain/prediction.ts'
import { canceled } from '../domain/transitions.ts'
import { builder, WRITE_COST } from './builder.ts'
import type { Context } from './context.ts'
import { checkSubmitPermission } from './create-prediction.ts'
import { decodeIdOf } from './global-id.ts'
import { type MutationErrorOf, mutationErrorTypes, resolveResultType } from './mutation-errors.ts'
import { PredictionType } from './prediction.ts'

interface Cancellation {
  prediction: Prediction
  mayStillBeCharged: boolean
}

const CancelPredictionPayload = builder.objectRef<Cancellation>('CancelPredictionPayload').implement({
  fields: t => ({
    prediction: t.expose('prediction', { type: PredictionType }),
    mayStillBeCharged: t.exposeBoolean('mayStillBeCharged', {
      description: 'It may have been sent, and upstream can stop nothing.',
    }),
  }),
})

const CancelPredictionResult = builder.unionType('CancelPredictionResult', {
  types: [
    CancelPredictionPayload,
    mutationErrorTypes.NOT_FOUND,
    mutationErrorTypes.ALREADY_FINISHED,
    mutationErrorTypes.FORBIDDEN,
  ],
  resolveType: resolveResultType(CancelPredictionPayload),
})

const CancelPredictionInput = builder.inputType('CancelPredictionInput', {
  fields: t => ({ id: t.id({ required: true }) }),
})

builder.mutationField('cancelPrediction', t =>
  t.field({
    type: CancelPredictionResult,
    description:
      'While it waits: it is never sent. Later: it is no longer followed, and may still be charged.',
    complexity: WRITE_COST,
    args: { input: t.arg({ type: CancelPredictionInput, required: true }) },
    resolve: (_root, { input }, context) =>
      context.countRejections(cancelPrediction(decodeIdOf('Prediction', input.id), context)),
  }),
)

async function cancelPrediction(
  id: string,
  context: Context,
): Promise<Cancellation | MutationErrorOf<'NOT_FOUND' | 'ALREADY_FINISHED' | 'FORBIDDEN'>> {
  const { scope, store, now } = context
  const denied = checkSubmitPermission(context)
  if (denied !== null) return denied
  if ((await store.get(scope, id)) === null) return { code: 'NOT_FOUND' }
  const at = now()
  const changed = await store.change(id, canceled(at), at)
  if (changed !== null) return { prediction: changed, mayStillBeCharged: changed.submission !== 'none' }
  const prediction = await store.get(scope, id)
  if (prediction === null) return { code: 'NOT_FOUND' }
  // A token that may not follow the job learns that it has finished, and neither its outputs nor its upstream id.
  const visible = mayFollow(context.access, prediction) ? {} : { outputs: [], upstreamId: null }
  return { code: 'ALREADY_FINISHED', prediction: { ...prediction, ...visible } }
}
