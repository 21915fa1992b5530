/**
 * Filter of a list or a feed of predictions. Pure.
 */
import type { VideoModel } from './models.ts'
import type { Prediction, Status } from './prediction.ts'

/** A field matches a prediction that has one of its values. Fields are joined by "and". */
export interface Filter {
  ids?: readonly string[] | undefined
  statuses?: readonly Status[] | undefined
  models?: readonly VideoModel[] | undefined
  tags?: readonly string[] | undefined
  createdAfter?: number | undefined
  createdBefore?: number | undefined
}

/** Definition of a filter. A property test compares the store's SQL with it. */
export const matchesFilter = (filter: Filter, p: Prediction): boolean =>
  (filter.ids?.includes(p.id) ?? true) &&
  (filter.statuses?.includes(p.status) ?? true) &&
  (filter.models?.includes(p.model) ?? true) &&
  (filter.tags === undefined || p.tags.some(tag => filter.tags?.includes(tag))) &&
  (filter.createdAfter === undefined || p.createdAt > filter.createdAfter) &&
  (filter.createdBefore === undefined || p.createdAt < filter.createdBefore)
