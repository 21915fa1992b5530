/**
 * The filter of lists and feeds: GraphQL input to the store's filter.
 */

import type { STATUSES } from '../domain/prediction.ts'
import type { Filter } from '../domain/prediction-filter.ts'
import { builder } from './builder.ts'
import { decodeIdOf } from './global-id.ts'
import { MAX_TAG_UNITS } from './input-rules.ts'
import { VideoModelEnum } from './model.ts'
import { badArgument } from './request-errors.ts'

export const PredictionStatusEnum = builder.enumType('PredictionStatus', {
  values: {
    QUEUED: { description: 'Accepted and stored here; not yet sent upstream.' },
    CREATED: { description: 'Upstream has it.' },
    PROCESSING: {},
    COMPLETED: { description: 'Final; outputs are there.' },
    FAILED: {
      description:
        'Final; error says why. SUBMISSION_UNKNOWN and TIMED_OUT may be corrected by a truth learned late: predictionFeed tells it.',
    },
    CANCELED: { description: 'Final.' },
  } satisfies Record<(typeof STATUSES)[number], object>,
})

export const PredictionFilter = builder.inputType('PredictionFilter', {
  description:
    'Lets a prediction through that has one of the values of each field given. At most 100 values a field.',
  fields: t => ({
    ids: t.idList(),
    statuses: t.field({ type: [PredictionStatusEnum] }),
    models: t.field({ type: [VideoModelEnum] }),
    tags: t.stringList(),
    createdAfter: t.field({ type: 'DateTime' }),
    createdBefore: t.field({ type: 'DateTime' }),
  }),
})

const MAX_VALUES_PER_FIELD = 100

/** @throws request error BAD_ARGUMENT */
export function parseFilter(input: typeof PredictionFilter.$inferInput | null | undefined): Filter {
  for (const [field, value] of Object.entries(input ?? {}))
    if (Array.isArray(value) && value.length > MAX_VALUES_PER_FIELD)
      throw badArgument(`filter.${field}`, `at most ${MAX_VALUES_PER_FIELD} values`)
  return {
    ids: input?.ids?.map(id => decodeIdOf('Prediction', id)),
    statuses: input?.statuses ?? undefined,
    models: input?.models ?? undefined,
    // A longer tag matches nothing, and would be compared with each row.
    tags: input?.tags?.filter(({ length }) => length <= MAX_TAG_UNITS),
    createdAfter: input?.createdAfter ?? undefined,
    createdBefore: input?.createdBefore ?? undefined,
  }
}
