/**
 * Which predictions a list or a feed is about. Pure.
 */
import type { VideoModel } from './models.ts'
import type { Prediction, Status } from './prediction.ts'

/** Each field lets a prediction through that has one of its values; fields are joined by "and". */
export interface Filter {
  ids?: readonly string[] | undefined
  statuses?: readonly Status[] | undefined
  models?: readonly VideoModel[] | undefined
  tags?: readonly string[] | undefined
  createdAfter?: number | undefined
  createdBefore?: number | undefined
}

/** The one meaning of a filter; the engines' SQL is held against it by a property test. */
export const matchesFilter = (filter: Filter, p: Prediction): boolean =>
  (filter.ids?.includes(p.id) ?? true) &&
  (filter.statuses?.includes(p.status) ?? true) &&
  (filter.models?.includes(p.model) ?? true) &&
  (filter.tags === undefined || p.tags.some(tag => filter.tags?.includes(tag))) &&
  (filter.createdAfter === undefined || p.createdAt > filter.createdAfter) &&
  (filter.createdBefore === undefined || p.createdAt < filter.createdBefore)
