/**
 * Sends queued jobs in fair order (domain/fair-queue.ts), as far as the account's limits allow.
 * Invariant: one POST per claim. A claimed row is `begun` on disk. The outcome is written under its fence,
 * however long the database takes. A POST aborted at a stop leaves the row as it is.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { MODELS } from '../domain/models.ts'
import { type AppId, type Job, type SubmitOutcome, upstreamInput } from '../domain/prediction.ts'
import { submitAnswered, webhookReceived } from '../domain/transitions.ts'
import type { Log } from '../observability/log.ts'
import type { WakeSignal } from '../runtime/wake-signal.ts'
import type { Store } from '../store/store.ts'
import type { Upstream } from '../upstream/client.ts'
import type { WebhookUrls } from '../upstream/webhook-url.ts'
import { IMAGE_FRESH_MS } from './image-checker.ts'
import type { ModelHolds } from './model-holds.ts'
import type { PollTiming } from './poll-timing.ts'
import { searchWindow } from './reconcile-schedule.ts'
import type { WebhookIntake } from './webhook-intake.ts'
import { createWorkerLoop, type WorkerLoop } from './worker-loop.ts'

export interface SubmitterOptions {
  store: Store
  upstream: Upstream
  wakeSignal: WakeSignal
  log: Log
  now: () => number
  upstreamConcurrency: number | null
  upstreamSubmitsPerMinute: number | null
  pollTiming: PollTiming
  webhookUrls: WebhookUrls
  webhookIntake: Pick<WebhookIntake, 'lastWebhookAt'>
  /** Called when upstream has accepted a job, with the ms since the job was created. */
  onSubmitted: (app: AppId, ms: number) => void
  submitTimeoutMs: number
  /** Ids of the jobs in flight, so that the reconciler does not take them for abandoned. */
  submittingIds: Set<string>
  modelHolds: ModelHolds
}

/** Max concurrent POSTs if the account has no limit. */
const CAPACITY = 100
const INTERVAL_MS = 500
/** Delay between attempts to write an outcome. */
const MIN_RETRY_MS = 100
const MAX_RETRY_MS = 5000

export function createSubmitter(options: SubmitterOptions): WorkerLoop {
  const {
    store,
    upstream,
    wakeSignal,
    log,
    now,
    upstreamConcurrency,
    upstreamSubmitsPerMinute,
    pollTiming,
    submitTimeoutMs,
    submittingIds,
    modelHolds,
  } = options

  async function submit(job: Job, signal: AbortSignal): Promise<SubmitOutcome | null> {
    if (isClaimStale(job)) return { kind: 'unsent' }
    // Its model was refused since the claim, or another job of the claim is the probe.
    if (!modelHolds.begin(job.model)) return { kind: 'held', until: modelHolds.retryAt(job.model) }
    let outcome: SubmitOutcome | null = null
    try {
      const webhookUrl = options.webhookUrls.urlFor(job.id)
      outcome = await upstream.submit(MODELS[job.model].upstreamId, upstreamInput(job), signal, webhookUrl)
      return outcome
    } finally {
      modelHolds.end(job.model, outcome)
    }
  }

  async function perform(job: Job, signal: AbortSignal): Promise<void> {
    submittingIds.add(job.id)
    try {
      const outcome = await submit(job, signal)
      if (outcome !== null) await writeOutcome(job, outcome, signal)
    } finally {
      submittingIds.delete(job.id)
    }
  }

  /** If the process slept since the claim, the POST would fall outside its search window. */
  const isClaimStale = (job: Job): boolean => now() - (job.submitStartedAt ?? 0) > submitTimeoutMs / 2

  /** An id that belongs to another prediction would give one app another app's video. */
  async function rejectOwnedId(job: Job, outcome: SubmitOutcome): Promise<SubmitOutcome> {
    const ownerId = outcome.kind === 'accepted' ? await store.findIdByUpstreamId(outcome.upstreamId) : null
    return ownerId === null || ownerId === job.id ? outcome : { kind: 'unknown' }
  }

  /** When the row is due first: for a poll, or for a search. */
  const firstDueAt = async (job: Job, outcome: SubmitOutcome, at: number): Promise<number> =>
    outcome.kind === 'accepted'
      ? await pollTiming.nextPollAt(job, at)
      : Math.max(at, searchWindow(job.submitStartedAt ?? at, submitTimeoutMs).to)

  /** A webhook may have settled the row meanwhile. */
  async function logSupersededAnswer(job: Job, outcome: SubmitOutcome): Promise<void> {
    const upstreamId = outcome.kind === 'accepted' ? outcome.upstreamId : null
    const logFields = { prediction: job.id, app: job.appId, outcome: outcome.kind, upstreamId }
    if (upstreamId === null || (await store.findIdByUpstreamId(upstreamId)) === job.id)
      log.info(logFields, 'the row was settled before the answer to its POST came')
    else log.error(logFields, 'an answer came after its row had changed')
  }

  /**
   * An outcome is never dropped: a full disk or a locked file ends some day, and a paid job must be recorded
   * then.
   */
  async function writeOutcome(job: Job, receivedOutcome: SubmitOutcome, signal: AbortSignal): Promise<void> {
    const upstreamId = receivedOutcome.kind === 'accepted' ? receivedOutcome.upstreamId : undefined
    const logFields = {
      prediction: job.id,
      app: job.appId,
      upstreamId,
      ms: now() - (job.submitStartedAt ?? 0),
    }
    for (let waitMs = MIN_RETRY_MS; !signal.aborted; waitMs = Math.min(2 * waitMs, MAX_RETRY_MS)) {
      try {
        const outcome = await rejectOwnedId(job, receivedOutcome)
        const at = now()
        const dueAt = await firstDueAt(job, outcome, at)
        const changed = await store.change(job.id, submitAnswered(outcome, at, dueAt), at, job.fence)
        if (changed === null) await logSupersededAnswer(job, outcome)
        else if (outcome.kind === 'accepted') {
          const queuedMs = at - job.createdAt
          log.info({ ...logFields, queuedMs }, 'submitted')
          options.onSubmitted(job.appId, queuedMs)
          if (options.webhookIntake.lastWebhookAt(outcome.upstreamId) !== null)
            await store.change(job.id, webhookReceived(outcome.upstreamId, at), at)
        } else log.warn({ ...logFields, outcome: outcome.kind }, OUTCOME_MESSAGES[outcome.kind])
        return
      } catch (error) {
        log.error({ ...logFields, err: error }, 'an outcome cannot be written; will retry')
        await delay(waitMs, undefined, { signal }).catch(() => {})
      }
    }
  }

  return createWorkerLoop({
    name: 'submitter',
    logFields: ({ id, appId }: Job) => ({ prediction: id, app: appId }),
    claim: limit => {
      const at = now()
      // The lease outlives the POST, so that nothing claims the row while its answer may come.
      const leaseUntil = at + submitTimeoutMs + 30_000
      const imageVerifiedAfter = at - IMAGE_FRESH_MS
      return store.claimSubmits({
        now: at,
        leaseUntil,
        limit,
        upstreamConcurrency,
        upstreamSubmitsPerMinute,
        imageVerifiedAfter,
        thisProcess: { heldModels: modelHolds.heldModels() },
      })
    },
    perform,
    wakeSignal,
    capacity: upstreamConcurrency ?? CAPACITY,
    intervalMs: INTERVAL_MS,
    log,
  })
}

const OUTCOME_MESSAGES = {
  unsent:
    'no connection to upstream could be established; the job stays queued, submit circuit open until upstream can be read',
  rejected: 'upstream refused the input',
  account:
    'the upstream account needs its operator (key, credit or permission); jobs stay queued, submit circuit open',
  model: 'upstream does not offer the model; the job stays queued',
  held: 'upstream does not offer the model; the job was not sent and stays queued',
  throttled: 'upstream wants fewer submits; the job stays queued, submit circuit open',
  unknown:
    'a POST was sent and its outcome is unknown; searching for it, not sending again, submit circuit open until upstream can be read',
} as const
