/**
 * When to look at a job next: by what finished jobs of its model took, which the store remembers.
 * Invariant: a job's own looks are the same moments whoever asks and however often; only what was learned moves them.
 */
import type { VideoModel } from '../domain/models.ts'
import type { Job } from '../domain/prediction.ts'
import type { Store } from '../store/store.ts'
import { type CompletionCurve, fitCompletionCurve } from './completion-curve.ts'
import { nextPollAge, type PollLimits } from './poll-schedule.ts'
import { nextExpiredPollAt } from './reconcile-schedule.ts'
import type { WebhookIntake } from './webhook-intake.ts'

export interface PollTiming {
  nextPollAt(job: Job, now: number): Promise<number>
}

/** Finished jobs that a curve is made of. */
const SAMPLE_SIZE = 200
/** A curve is made anew after this, ms. */
const CURVE_TTL_MS = 10_000

export function createPollTiming(options: {
  store: Pick<Store, 'recentDurations'>
  pollLimits: PollLimits
  /** How long a job of a model takes, as far as is known before any has finished, ms. */
  expectedMs: (model: VideoModel) => number
  /** A job that took longer tells nothing of how long they take. */
  deadlineMs: number
  /** Whether webhooks are asked for. */
  webhooksEnabled: boolean
  webhookIntake: Pick<WebhookIntake, 'lastWebhookAt'>
}): PollTiming {
  const { store, pollLimits, expectedMs, deadlineMs, webhooksEnabled, webhookIntake } = options
  const curves = new Map<VideoModel, { curve: Promise<CompletionCurve>; madeAt: number }>()

  function curveFor(model: VideoModel): Promise<CompletionCurve> {
    const cached = curves.get(model)
    const at = performance.now()
    if (cached !== undefined && at - cached.madeAt < CURVE_TTL_MS) return cached.curve
    const curve = store
      .recentDurations(model, SAMPLE_SIZE, deadlineMs)
      .then(spans => fitCompletionCurve(spans, expectedMs(model)))
    curve.catch(() => curves.delete(model))
    curves.set(model, { curve, madeAt: at })
    return curve
  }

  return {
    async nextPollAt(job, now) {
      const sentAt = job.submittedAt ?? job.submitStartedAt ?? now
      if (job.tracking === 'expired') return nextExpiredPollAt(sentAt, now)
      const pollAt =
        sentAt +
        nextPollAge(await curveFor(job.model), now - sentAt, phaseOf(job.id), pollLimits, webhooksEnabled)
      const webhookAt = job.upstreamId === null ? null : webhookIntake.lastWebhookAt(job.upstreamId)
      // It was said to have ended: a look that could not see it is repeated soon, and then ever less so.
      return webhookAt === null ? pollAt : Math.min(pollAt, now + Math.max(pollLimits.minMs, now - webhookAt))
    },
  }
}

/** The job's own place between two looks, in [0, 1): the end of its id is random. */
const phaseOf = (id: string): number => Number.parseInt(id.slice(-8), 16) / 2 ** 32
