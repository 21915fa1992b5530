/**
 * Holds the jobs of a model that upstream does not offer at present.
 * Invariant: a held model's jobs wait and no other model's do. After ever longer waits one job of the model is sent as the
 * probe, until upstream answers one normally. State is in memory: after a restart one more job is sent.
 */
import type { VideoModel } from '../domain/models.ts'
import type { SubmitOutcome } from '../domain/prediction.ts'
import type { Log } from '../observability/log.ts'
import { type Backoff, createBackoff } from './backoff.ts'

export interface ModelHolds {
  /** Models of which nothing may be claimed now. */
  heldModels(): VideoModel[]
  /** Whether a job of this model may be sent now. If the model is held, this job is its probe. */
  begin(model: VideoModel): boolean
  /** When a job that may not be sent may try again, ms since 1970. */
  retryAt(model: VideoModel): number
  /** Records the outcome of a POST; null if its wait was aborted. */
  end(model: VideoModel, outcome: SubmitOutcome | null): void
}

/** A job that waits for the probe's answer is looked at again after this. */
const PROBE_WAIT_MS = 1000

export function createModelHolds({ log, now }: { log: Log; now: () => number }): ModelHolds {
  const holds = new Map<VideoModel, { backoff: Backoff; isProbing: boolean }>()

  return {
    heldModels: () =>
      [...holds].flatMap(([model, { backoff, isProbing }]) =>
        isProbing || backoff.isActive() ? [model] : [],
      ),
    begin(model) {
      const hold = holds.get(model)
      if (hold === undefined) return true
      if (hold.isProbing || hold.backoff.isActive()) return false
      hold.isProbing = true
      return true
    },
    retryAt: model => Math.max(holds.get(model)?.backoff.until ?? 0, now() + PROBE_WAIT_MS),
    end(model, outcome) {
      const hold = holds.get(model)
      if (outcome?.kind === 'model') {
        const { backoff } = hold ?? { backoff: createBackoff(now) }
        const waitMs = backoff.start(0) - now()
        holds.set(model, { backoff, isProbing: false })
        log.warn(
          { model, waitMs },
          'upstream does not offer this model; its jobs are held, tell the operator',
        )
      } else if (outcome?.kind === 'accepted' || outcome?.kind === 'rejected') {
        if (holds.delete(model)) log.info({ model }, 'upstream offers this model again; its jobs go on')
      } else if (hold !== undefined) hold.isProbing = false
    },
  }
}
