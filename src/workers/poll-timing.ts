/**
 * When to look at a job next: by what finished jobs of its model took, which the store remembers.
 * Invariant: a job's own looks are the same moments whoever asks and however often; only what was learned moves them.
 */
import type { VideoModel } from '../domain/models.ts'
import type { Job } from '../domain/prediction.ts'
import type { Store } from '../store/store.ts'
import { type Curve, curveOf } from './completion-curve.ts'
import { nextLook, type PollLimits } from './poll-schedule.ts'
import { lateLook } from './reconcile-schedule.ts'
import type { Receiver } from './webhook-intake.ts'

export interface Looks {
  next(job: Job, now: number): Promise<number>
}

/** Finished jobs that a curve is made of. */
const SAMPLE = 200
/** A curve is made anew after this, ms. */
const CURVE_LIFE = 10_000

export function createLooks(options: {
  store: Pick<Store, 'spans'>
  poll: PollLimits
  /** How long a job of a model takes, as far as is known before any has finished, ms. */
  expected: (model: VideoModel) => number
  /** A job that took longer tells nothing of how long they take. */
  deadlineMs: number
  /** Whether webhooks are asked for. */
  webhooks: boolean
  receiver: Pick<Receiver, 'heardOf'>
}): Looks {
  const { store, poll, expected, deadlineMs, webhooks, receiver } = options
  const curves = new Map<VideoModel, { curve: Promise<Curve>; madeAt: number }>()

  function curveFor(model: VideoModel): Promise<Curve> {
    const known = curves.get(model)
    const at = performance.now()
    if (known !== undefined && at - known.madeAt < CURVE_LIFE) return known.curve
    const curve = store.spans(model, SAMPLE, deadlineMs).then(spans => curveOf(spans, expected(model)))
    curve.catch(() => curves.delete(model))
    curves.set(model, { curve, madeAt: at })
    return curve
  }

  return {
    async next(job, now) {
      const sent = job.submittedAt ?? job.begunAt ?? now
      if (job.following === 'late') return lateLook(sent, now)
      const next = sent + nextLook(await curveFor(job.model), now - sent, phaseOf(job.id), poll, webhooks)
      const heard = job.upstreamId === null ? null : receiver.heardOf(job.upstreamId)
      // It was said to have ended: a look that could not see it is repeated soon, and then ever less so.
      return heard === null ? next : Math.min(next, now + Math.max(poll.minMs, now - heard))
    },
  }
}

/** The job's own place between two looks, in [0, 1): the end of its id is random. */
const phaseOf = (id: string): number => Number.parseInt(id.slice(-8), 16) / 2 ** 32
