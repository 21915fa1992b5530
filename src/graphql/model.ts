/**
 * The model catalogue: the type Model and the query `models`.
 */
import { MODELS, type ModelCard, VIDEO_MODELS } from '../domain/models.ts'
import { builder, QUERY_COST } from './builder.ts'
import { Cost } from './cost.ts'

export const VideoModelEnum = builder.enumType('VideoModel', { values: VIDEO_MODELS })

const Model = builder.objectRef<ModelCard>('Model').implement({
  description: 'A model that videos can be asked of.',
  fields: t => ({
    model: t.expose('model', { type: VideoModelEnum }),
    name: t.exposeString('name'),
    description: t.exposeString('description'),
    resolution: t.exposeString('resolution'),
    durations: t.intList({ description: 'Seconds a clip may last.', resolve: card => [...card.durations] }),
    cost: t.field({ type: Cost, description: 'A job.', resolve: card => card.price }),
    expectedSeconds: t.int({
      nullable: true,
      complexity: QUERY_COST,
      description:
        "From submission to video: the median of the newest finished jobs, else the catalogue's figure.",
      resolve: async ({ model, expectedSeconds }, _args, { store }) => {
        const medianMs = await store.medianDuration(model)
        return medianMs === null ? expectedSeconds : Math.round(medianMs / 1000)
      },
    }),
  }),
})

builder.queryField('models', t =>
  t.field({
    type: [Model],
    complexity: { multiplier: VIDEO_MODELS.length },
    resolve: () => Object.values(MODELS),
  }),
)
