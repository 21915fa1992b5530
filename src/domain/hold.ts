/**
 * Holds: which waiting jobs are not submitted until an operator releases them. Pure.
 * Invariant: a held job is neither submitted nor has its image checked, so it stays `QUEUED` for no other reason. What
 * was submitted before goes on.
 */
import type { VideoModel } from './models.ts'
import type { AppId, Job } from './prediction.ts'

/** The jobs that a hold covers. Null: all of them. */
export interface HoldTarget {
  appId: AppId | null
  model: VideoModel | null
  predictionId: string | null
}

/**
 * `operator`: set by the command. `start`: set by HOLD_SUBMITS. `restored`: the database was replaced by a copy, and the
 * job has not been compared with upstream's list; `restored-absent`: the list has no such job; `restored-unsure`: a job of
 * the list may be this one.
 */
export const HOLD_REASONS = ['operator', 'start', 'restored', 'restored-absent', 'restored-unsure'] as const
export type HoldReason = (typeof HOLD_REASONS)[number]

export interface Hold extends HoldTarget {
  reason: HoldReason
  /** The operator's own words. */
  why: string | null
  since: number
}

export const ALL_JOBS: HoldTarget = Object.freeze({ appId: null, model: null, predictionId: null })

export const isHeldBy = (
  { appId, model, predictionId }: HoldTarget,
  job: Pick<Job, 'appId' | 'model' | 'id'>,
): boolean =>
  (appId === null || appId === job.appId) &&
  (model === null || model === job.model) &&
  (predictionId === null || predictionId === job.id)

/** Whether nothing at all is submitted. */
export const coversAllJobs = ({ appId, model, predictionId }: HoldTarget): boolean =>
  appId === null && model === null && predictionId === null
