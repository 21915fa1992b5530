/**
 * Sends what waits, in the order of fairness.ts, as far as the account allows.
 * Invariant: one POST for one claim. A claimed row is `begun` on disk; what its POST brought is written back under its
 * fence, however long the database takes; a POST that is cut off at a stop leaves the row as it is.
 */
import { setTimeout as pause } from 'node:timers/promises'
import { MODELS } from '../domain/models.ts'
import { type AppId, inputSent, type Job, type SubmitOutcome } from '../domain/prediction.ts'
import { announced, answered } from '../domain/transitions.ts'
import type { Bell } from '../runtime/wake-signal.ts'
import type { Store } from '../store/store.ts'
import type { Upstream } from '../upstream/client.ts'
import type { WebhookAddresses } from '../upstream/webhook-url.ts'
import { IMAGE_FRESH_MS } from './image-checker.ts'
import type { Looks } from './poll-timing.ts'
import { searchWindow } from './reconcile-schedule.ts'
import type { Receiver } from './webhook-intake.ts'
import { createLoop, type Log, type Loop } from './worker-loop.ts'

export interface SubmitterOptions {
  store: Store
  upstream: Upstream
  bell: Bell
  log: Log
  now: () => number
  concurrency: number | null
  perMinute: number | null
  looks: Looks
  addresses: WebhookAddresses
  receiver: Pick<Receiver, 'heardOf'>
  /** Upstream has taken a job, so long after it was accepted, ms. */
  submitted: (app: AppId, ms: number) => void
  submitTimeoutMs: number
  /** The ids of the jobs in hand, for whoever might take them for abandoned. */
  underway: Set<string>
}

/** POSTs at once where the account sets no limit. */
const CAPACITY = 100
const INTERVAL_MS = 500
/** Between tries to write an answer down. */
const FIRST_RETRY_MS = 100
const LAST_RETRY_MS = 5000

export function createSubmitter(options: SubmitterOptions): Loop {
  const { store, upstream, bell, log, now, concurrency, perMinute, looks, submitTimeoutMs, underway } =
    options

  async function perform(job: Job, signal: AbortSignal): Promise<void> {
    underway.add(job.id)
    try {
      const webhook = options.addresses.of(job.id)
      const outcome = isLate(job)
        ? ({ kind: 'unsent' } as const)
        : await upstream.submit(MODELS[job.model].upstreamId, inputSent(job), signal, webhook)
      if (outcome !== null) await keep(job, outcome, signal)
    } finally {
      underway.delete(job.id)
    }
  }

  /** A process that slept since the claim would send it out of the time in which it is looked for. */
  const isLate = (job: Job): boolean => now() - (job.begunAt ?? 0) > submitTimeoutMs / 2

  /** An id that another prediction has would hand one app the other's video. */
  async function doubted(job: Job, outcome: SubmitOutcome): Promise<SubmitOutcome> {
    const owner = outcome.kind === 'accepted' ? await store.ownerOf(outcome.upstreamId) : null
    return owner === null || owner === job.id ? outcome : { kind: 'unknown' }
  }

  /** When to look first: at the job, or for it. */
  const firstLook = async (job: Job, outcome: SubmitOutcome, at: number): Promise<number> =>
    outcome.kind === 'accepted'
      ? await looks.next(job, at)
      : Math.max(at, searchWindow(job.begunAt ?? at, submitTimeoutMs).to)

  /** A webhook may have settled the row meanwhile. */
  async function late(job: Job, outcome: SubmitOutcome): Promise<void> {
    const upstreamId = outcome.kind === 'accepted' ? outcome.upstreamId : null
    const told = { prediction: job.id, app: job.appId, outcome: outcome.kind, upstreamId }
    if (upstreamId === null || (await store.ownerOf(upstreamId)) === job.id)
      log.info(told, 'the row was settled before the answer of its POST came')
    else log.error(told, 'an answer came after its row had moved on')
  }

  /** An answer in hand is not let go of: a full disk or a locked file ends, and a paid job must be known then. */
  async function keep(job: Job, answer: SubmitOutcome, signal: AbortSignal): Promise<void> {
    const upstreamId = answer.kind === 'accepted' ? answer.upstreamId : undefined
    const told = { prediction: job.id, app: job.appId, upstreamId, ms: now() - (job.begunAt ?? 0) }
    for (let wait = FIRST_RETRY_MS; !signal.aborted; wait = Math.min(2 * wait, LAST_RETRY_MS)) {
      try {
        const outcome = await doubted(job, answer)
        const at = now()
        const next = await firstLook(job, outcome, at)
        const changed = await store.change(job.id, answered(outcome, at, next), at, job.fence)
        if (changed === null) await late(job, outcome)
        else if (outcome.kind === 'accepted') {
          const queuedMs = at - job.createdAt
          log.info({ ...told, queuedMs }, 'submitted')
          options.submitted(job.appId, queuedMs)
          if (options.receiver.heardOf(outcome.upstreamId) !== null)
            await store.change(job.id, announced(outcome.upstreamId, at), at)
        } else log.warn({ ...told, outcome: outcome.kind }, EXPLAINED[outcome.kind])
        return
      } catch (error) {
        log.error({ ...told, err: error }, "an answer can't be written down; trying again")
        await pause(wait, undefined, { signal }).catch(() => {})
      }
    }
  }

  return createLoop({
    name: 'submitter',
    about: ({ id, appId }: Job) => ({ prediction: id, app: appId }),
    claim: limit => {
      const at = now()
      // The lease outlives the POST, so that nobody takes the row while its answer may still come.
      const leaseUntil = at + submitTimeoutMs + 30_000
      const imagesSince = at - IMAGE_FRESH_MS
      return store.claimSubmits({ now: at, leaseUntil, limit, concurrency, perMinute, imagesSince })
    },
    perform,
    bell,
    capacity: concurrency ?? CAPACITY,
    intervalMs: INTERVAL_MS,
    log,
  })
}

const EXPLAINED = {
  unsent: 'upstream refused the connection; the job stays queued, submits pause until upstream can be read',
  rejected: 'upstream refused the input',
  account:
    'the upstream account needs its operator (key, credit or permission); jobs stay queued, submits pause',
  throttled: 'upstream wants fewer submits; the job stays queued, submits pause',
  unknown:
    'a POST was sent and its outcome is unknown; it is looked for and not sent again, submits pause until upstream can be read',
} as const
