/**
 * The type Prediction, and the queries for one and for many.
 */
import { GRAPHQL_MAX_INT } from 'graphql'
import { PREDICTION_ERROR_CODES, PREDICTION_ERRORS, type PredictionErrorCode } from '../domain/errors.ts'
import type { Input, Output, Prediction } from '../domain/prediction.ts'
import { builder, PER_SUBSCRIBER, QUERY_COST } from './builder.ts'
import { Cost } from './cost.ts'
import { decodeIdOf } from './global-id.ts'
import { VideoModelEnum } from './model.ts'
import { encodeListCursor, pageCost, parsePageArguments, toConnection } from './pagination.ts'
import { PredictionFilter, PredictionStatusEnum, parseFilter } from './prediction-filter.ts'

export const PredictionType = builder.objectRef<Prediction>('Prediction')

const PredictionInput = builder.objectRef<Input>('PredictionInput').implement({
  fields: t => ({
    imageUrl: t.field({
      type: 'URL',
      description: "Of an upload it is the upload's own.",
      resolve: ({ imageUrl }, _args, { toPublicUrl }) =>
        imageUrl.startsWith('/') ? toPublicUrl(imageUrl) : imageUrl,
    }),
    prompt: t.exposeString('prompt'),
    negativePrompt: t.exposeString('negativePrompt', { nullable: true }),
    duration: t.exposeInt('duration', { description: 'Seconds.' }),
    enablePromptExpansion: t.exposeBoolean('enablePromptExpansion'),
    seed: t.exposeInt('seed', { description: '-1 is random.' }),
  }),
})

const VideoOutput = builder.objectRef<Output>('VideoOutput').implement({
  fields: t => ({
    url: t.expose('url', { type: 'URL' }),
    hasNsfwContent: t.exposeBoolean('hasNsfwContent', { nullable: true }),
    expiresAt: t.expose('expiresAt', {
      type: 'DateTime',
      nullable: true,
      description: 'Upstream keeps it 7 days.',
    }),
  }),
})

const PredictionErrorCodeEnum = builder.enumType('PredictionErrorCode', { values: PREDICTION_ERROR_CODES })

const PredictionError = builder.objectRef<PredictionErrorCode>('PredictionError').implement({
  fields: t => ({
    code: t.field({ type: PredictionErrorCodeEnum, resolve: code => code }),
    message: t.string({ resolve: code => PREDICTION_ERRORS[code].message }),
    retryable: t.boolean({ resolve: code => PREDICTION_ERRORS[code].retryable }),
  }),
})

const PredictionTimings = builder.objectRef<Prediction>('PredictionTimings').implement({
  description: 'Milliseconds; null until the end of each span is known.',
  fields: t => ({
    queueMs: t.int({
      nullable: true,
      description: 'Created to submitted.',
      resolve: p => elapsedMs(p.createdAt, p.submittedAt),
    }),
    inferenceMs: t.int({
      nullable: true,
      description: "Upstream's own figure.",
      resolve: p => p.inferenceMs,
    }),
    totalMs: t.int({
      nullable: true,
      description: 'Created to finished.',
      resolve: p => elapsedMs(p.createdAt, p.finishedAt),
    }),
  }),
})

builder.node(PredictionType, {
  description: 'One video that was asked for.',
  id: { resolve: prediction => prediction.id },
  loadManyWithoutCache: async (ids, { scope, store, nextSlice }) => {
    await nextSlice(scope.appId)
    return store.getMany(scope, ids)
  },
  fields: t => ({
    model: t.expose('model', { type: VideoModelEnum }),
    status: t.expose('status', { type: PredictionStatusEnum }),
    input: t.expose('input', { type: PredictionInput, complexity: QUERY_COST }),
    outputs: t.expose('outputs', {
      type: [VideoOutput],
      complexity: { multiplier: 2 },
      description: 'Empty until COMPLETED.',
    }),
    error: t.expose('error', {
      type: PredictionError,
      nullable: true,
      description: 'Set if and only if FAILED.',
    }),
    queuePosition: t.int({
      nullable: true,
      description: 'As of reading; 1 is next; null unless it waits in the queue.',
      extensions: { [PER_SUBSCRIBER]: true },
      complexity: QUERY_COST,
      resolve: (prediction, _args, { loaders }) =>
        prediction.status === 'QUEUED' ? loaders.queuePositions.load(prediction.id) : null,
    }),
    cost: t.field({
      type: Cost,
      description: "The catalogue's price; 0 once it ended unsent, or upstream itself reported its failure.",
      resolve: prediction => prediction.cost,
    }),
    tags: t.exposeStringList('tags'),
    metadata: t.expose('metadata', { type: 'JSON', nullable: true }),
    upstreamId: t.exposeString('upstreamId', {
      nullable: true,
      description: "The upstream's own id, once it has one.",
    }),
    retryOf: t.field({
      type: PredictionType,
      nullable: true,
      complexity: 2,
      extensions: { [PER_SUBSCRIBER]: true },
      resolve: ({ retryOf }, _args, { loaders }) =>
        retryOf === null ? null : loaders.predictions.load(retryOf),
    }),
    createdAt: t.expose('createdAt', { type: 'DateTime' }),
    submittedAt: t.expose('submittedAt', { type: 'DateTime', nullable: true }),
    startedAt: t.expose('startedAt', {
      type: 'DateTime',
      nullable: true,
      description: 'First seen PROCESSING.',
    }),
    finishedAt: t.expose('finishedAt', { type: 'DateTime', nullable: true }),
    updatedAt: t.expose('updatedAt', { type: 'DateTime' }),
    timings: t.field({ type: PredictionTimings, resolve: prediction => prediction }),
  }),
})

builder.queryFields(t => ({
  prediction: t.field({
    type: PredictionType,
    nullable: true,
    complexity: QUERY_COST,
    args: { id: t.arg.id({ required: true }) },
    resolve: (_root, { id }, { scope, store }) => store.get(scope, decodeIdOf('Prediction', id)),
  }),

  predictions: t.connection(
    {
      type: PredictionType,
      description: 'Newest first. 20 a page unless `first` or `last` says otherwise, at most 100.',
      args: { filter: t.arg({ type: PredictionFilter }) },
      complexity: ({ filter, ...page }) => {
        const { field, multiplier } = pageCost(page)
        return { field: field + (filter?.ids?.length ?? 0), multiplier }
      },
      resolve: async (_root, { filter, ...page }, { scope, store, nextSlice }) => {
        await nextSlice(scope.appId)
        const { predictions, ...pageInfo } = await store.list(scope, {
          ...parsePageArguments(page),
          filter: parseFilter(filter),
        })
        const edges = predictions.map(prediction => ({
          cursor: encodeListCursor(prediction),
          node: prediction,
        }))
        return toConnection(edges, pageInfo)
      },
    },
    { name: 'PredictionConnection' },
    { name: 'PredictionEdge' },
  ),
}))

/** Clamped to the range of a GraphQL Int: about 24 days. */
const elapsedMs = (from: number, to: number | null) =>
  to === null ? null : Math.min(Math.max(0, to - from), GRAPHQL_MAX_INT)
