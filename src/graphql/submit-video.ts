/**
 * submitVideo: the input is validated here, because upstream ignores unknown parameters and charges anyway.
 * Then one row is written.
 * Invariant: an accepted input is within the documented ranges, and only the row decides that it will be
 * sent.
 */
import { z } from 'zod'
import { MODELS, SEED_RANGE } from '../domain/models.ts'
import type { Prediction } from '../domain/prediction.ts'
import { previewPath } from '../domain/upload.ts'
import { isWebUrl } from '../domain/web-url.ts'
import { builder, WRITE_COST } from './builder.ts'
import type { Context } from './context.ts'
import {
  addGrantTags,
  checkSubmitPermission,
  createPrediction,
  fingerprint,
  idempotencyKeySchema,
  toIdempotency,
} from './create-prediction.ts'
import { decodeIdOf } from './global-id.ts'
import {
  countCharacters,
  metadataSchema,
  optionalTextUpTo,
  someTextUpTo,
  tagListSchema,
  textUpTo,
} from './input-rules.ts'
import { VideoModelEnum } from './model.ts'
import {
  type MutationError,
  mutationErrorTypes,
  resolveResultType,
  toInputIssues,
} from './mutation-errors.ts'
import { PredictionType } from './prediction.ts'

const ImageInput = builder.inputType('ImageInput', {
  isOneOf: true,
  fields: t => ({
    url: t.field({ type: 'URL', description: 'Anyone must be able to fetch it.' }),
    uploadId: t.id({ description: 'Of an Upload that has not expired.' }),
  }),
})

const SubmitVideoInput = builder.inputType('SubmitVideoInput', {
  fields: t => ({
    model: t.field({ type: VideoModelEnum, required: true, defaultValue: 'WAN_2_2_I2V_PLUS_1080P' }),
    image: t.field({ type: ImageInput, required: true }),
    prompt: t.string({ required: true, description: 'At most 5000 characters.' }),
    negativePrompt: t.string({ description: 'At most 5000 characters.' }),
    duration: t.int({
      required: true,
      defaultValue: 5,
      description: 'Seconds; one of the durations of the model.',
    }),
    enablePromptExpansion: t.boolean({ required: true, defaultValue: false }),
    seed: t.int({ required: true, defaultValue: -1, description: '-1 is random.' }),
    idempotencyKey: t.string({
      description: '1 to 255 characters, kept 24 h: the same key and input answer with the same prediction.',
    }),
    tags: t.stringList({ description: 'At most 10, 64 characters each.' }),
    metadata: t.field({ type: 'JSON', description: 'At most 4 KiB, handed back untouched.' }),
  }),
})
type SubmitVideoInput = typeof SubmitVideoInput.$inferInput

const SubmitVideoPayload = builder.objectRef<{ prediction: Prediction }>('SubmitVideoPayload').implement({
  fields: t => ({ prediction: t.expose('prediction', { type: PredictionType }) }),
})

const SubmitVideoResult = builder.unionType('SubmitVideoResult', {
  types: [
    SubmitVideoPayload,
    mutationErrorTypes.INVALID_INPUT,
    mutationErrorTypes.IDEMPOTENCY_CONFLICT,
    mutationErrorTypes.RATE_LIMITED,
    mutationErrorTypes.QUEUE_FULL,
    mutationErrorTypes.BUDGET_EXCEEDED,
    mutationErrorTypes.NOT_FOUND,
    mutationErrorTypes.FORBIDDEN,
  ],
  resolveType: resolveResultType(SubmitVideoPayload),
})

builder.mutationField('submitVideo', t =>
  t.field({
    type: SubmitVideoResult,
    description:
      'Accepts a job. It is on disk when this answers; watch it with predictionUpdated or predictionFeed.',
    complexity: WRITE_COST,
    args: { input: t.arg({ type: SubmitVideoInput, required: true }) },
    resolve: (_root, { input }, context) => context.countRejections(submitVideo(input, context)),
  }),
)

async function submitVideo(
  input: SubmitVideoInput,
  context: Context,
): Promise<{ prediction: Prediction } | MutationError> {
  const denied = checkSubmitPermission(context)
  if (denied !== null) return denied
  const parsed = inputSchema.safeParse(input)
  if (!parsed.success) return { code: 'INVALID_INPUT', issues: toInputIssues(parsed.error) }
  const { idempotencyKey: key, image, tags, metadata, model, ...rest } = parsed.data
  const imageSource = await resolveImage(image, context)
  if (imageSource === null) return { code: 'NOT_FOUND' }

  const { imageUrl, ...uploaded } = imageSource
  const request = {
    model,
    input: { imageUrl, ...rest },
    tags: addGrantTags(context, tags ?? []),
    metadata,
    ...uploaded,
  }
  const idempotency = toIdempotency(context, key, fingerprint(request))
  const result = await createPrediction({ uploadId: null, ...request, retryOf: null }, idempotency, context)
  if ('isNew' in result && result.isNew) logLongPrompt(context, result.prediction)
  return result
}

/**
 * Null if the caller can see no upload with this id: it never existed, belongs to another app, or has
 * expired.
 */
async function resolveImage(
  { url, uploadId }: { url?: string | undefined; uploadId?: string | undefined },
  { store, scope, now }: Context,
): Promise<{ imageUrl: string; uploadId?: string } | null> {
  // The fingerprint of a URL input must stay what it was before uploads existed: an idempotency key outlives
  // an upgrade.
  if (url !== undefined) return { imageUrl: url }
  const [upload] = await store.getUploads(scope, [decodeIdOf('Upload', uploadId ?? '')], now())
  return upload ? { imageUrl: previewPath(upload.previewToken), uploadId: upload.id } : null
}

/**
 * Far above the limit of any known host of these models. A page returns up to 100 prompts, and they are
 * stored.
 */
const MAX_PROMPT_CHARACTERS = 5000
const MAX_URL_CHARACTERS = 4096

const inputSchema = z
  .object({
    model: z.custom<SubmitVideoInput['model']>(),
    image: z.object({
      url: textUpTo(MAX_URL_CHARACTERS, [isWebUrl, 'expected an http:// or https:// URL']).optional(),
      uploadId: z.string().optional(),
    }),
    prompt: someTextUpTo(MAX_PROMPT_CHARACTERS),
    negativePrompt: optionalTextUpTo(MAX_PROMPT_CHARACTERS),
    duration: z.number(),
    enablePromptExpansion: z.boolean(),
    seed: z
      .number()
      .refine(
        seed => seed >= SEED_RANGE.min && seed <= SEED_RANGE.max,
        `expected ${SEED_RANGE.min} to ${SEED_RANGE.max}`,
      ),
    idempotencyKey: idempotencyKeySchema,
    tags: tagListSchema.nullish(),
    metadata: metadataSchema,
  })
  .superRefine(({ model, duration }, context) => {
    const { durations } = MODELS[model]
    if (!durations.includes(duration))
      context.addIssue({
        code: 'custom',
        path: ['duration'],
        message: `expected ${durations.join(' or ')} seconds`,
      })
  })

/** Limits, in characters, that other hosts of these models document and this upstream does not. */
const NOTED_PROMPT_CHARACTERS = 800
const NOTED_NEGATIVE_PROMPT_CHARACTERS = 500

/** Longer prompts are logged, not rejected. */
function logLongPrompt({ logNotice, scope }: Context, { id, input }: Prediction): void {
  const { prompt, negativePrompt } = input
  const isLonger = (text: string | null, maxCharacters: number) =>
    text !== null && text.length > maxCharacters && countCharacters(text) > maxCharacters
  if (isLonger(prompt, NOTED_PROMPT_CHARACTERS) || isLonger(negativePrompt, NOTED_NEGATIVE_PROMPT_CHARACTERS))
    logNotice(
      {
        app: scope.appId,
        prediction: id,
        prompt: countCharacters(prompt),
        negativePrompt: countCharacters(negativePrompt ?? ''),
      },
      'longer, in characters, than other hosts of this model take',
    )
}
