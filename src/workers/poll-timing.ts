/**
 * When to poll a job next, from the completion times of its model's finished jobs, which the store keeps.
 * Invariant: a job's poll times do not depend on how often or by which worker they are computed. Only new
 * samples move them.
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

/** Finished jobs per curve. */
const SAMPLE_SIZE = 200
/** A cached curve is rebuilt after this. */
const CURVE_TTL_MS = 10_000

export function createPollTiming(options: {
  store: Pick<Store, 'recentDurations'>
  pollLimits: PollLimits
  /** Expected ms of a job of a model until any has finished. */
  expectedMs: (model: VideoModel) => number
  /** Longer jobs are not sampled. */
  deadlineMs: number
  /** Whether submits pass a webhook URL. */
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
      // A webhook said that the job ended. If a poll did not see it, poll again soon, then ever less often.
      return webhookAt === null ? pollAt : Math.min(pollAt, now + Math.max(pollLimits.minMs, now - webhookAt))
    },
  }
}

/** The job's constant phase in [0, 1), from the random end of its id. */
const phaseOf = (id: string): number => Number.parseInt(id.slice(-8), 16) / 2 ** 32
