/**
 * Builds every worker of the gateway, and starts and stops them together.
 */
import type { VideoModel } from '../domain/models.ts'
import type { AppId } from '../domain/prediction.ts'
import type { EventLog } from '../events/event-log.ts'
import type { ImageFetch } from '../image-fetch/image-fetch.ts'
import type { Log } from '../observability/log.ts'
import type { WakeSignal } from '../runtime/wake-signal.ts'
import type { Store } from '../store/store.ts'
import type { Upstream } from '../upstream/client.ts'
import type { WebhookUrls } from '../upstream/webhook-url.ts'
import { createClockWatch } from './clock-watch.ts'
import { createImageChecker } from './image-checker.ts'
import { createJanitor } from './janitor.ts'
import type { PollCircuit } from './poll-circuit.ts'
import type { PollLimits } from './poll-schedule.ts'
import { createPollTiming } from './poll-timing.ts'
import { createPoller } from './poller.ts'
import { createReconciler } from './reconciler.ts'
import { createSubmitCircuitProbe } from './submit-circuit-probe.ts'
import { createSubmitter } from './submitter.ts'
import type { WebhookIntake } from './webhook-intake.ts'
import type { WorkerLoop } from './worker-loop.ts'

export interface WorkersOptions {
  store: Store
  upstream: Upstream
  imageFetch: ImageFetch
  eventLog: Pick<EventLog, 'lowestPinnedSeq'>
  pollCircuit: PollCircuit
  webhookUrls: WebhookUrls
  webhookIntake: Pick<WebhookIntake, 'lastWebhookAt'>
  /** Whether submits pass a webhook URL. */
  webhooksEnabled: boolean
  /** Notified after a write: the image checker or the submitter may have a job to claim. */
  wakeSignal: WakeSignal
  /** Notified when a job should be polled now. */
  pollSignal: WakeSignal
  /** Called when upstream has accepted a job, with the ms since the job was created. */
  onSubmitted: (app: AppId, ms: number) => void
  /** Expected ms of a job of a model until any has finished. */
  expectedMs: (model: VideoModel) => number
  /** Null: unlimited. */
  upstreamConcurrency: number | null
  /** Null: unlimited. */
  upstreamSubmitsPerMinute: number | null
  pollLimits: PollLimits
  submitTimeoutMs: number
  readTimeoutMs: number
  /** Age of an unresolved submit at which the app gets SUBMISSION_UNKNOWN. */
  submitUnknownAfterMs: number
  /** Age of a submitted job at which it fails with TIMED_OUT. */
  deadlineMs: number
  /** Age at which the janitor deletes an event. */
  eventRetentionMs: number
  now: () => number
  /** A monotonic clock, ms. */
  monotonic: () => number
  log: Log
}

/** A completed job has this many minimum poll intervals for its outputs to appear. */
const OUTPUT_GRACE_POLLS = 5

export function createWorkers(options: WorkersOptions): Pick<WorkerLoop, 'start' | 'stop'> {
  const { eventRetentionMs, pollLimits } = options
  const pollTiming = createPollTiming(options)
  /** Shared by submitter and reconciler: a submit in flight here was not abandoned. */
  const submittingIds = new Set<string>()
  const workers = [
    createImageChecker(options),
    createSubmitter({ ...options, pollTiming, submittingIds }),
    createPoller({ ...options, pollTiming, outputGraceMs: OUTPUT_GRACE_POLLS * pollLimits.minMs }),
    createReconciler({ ...options, submittingIds }),
    createSubmitCircuitProbe(options),
    createClockWatch(options),
    createJanitor({ ...options, eventRetentionMs }),
  ]

  return {
    start() {
      for (const worker of workers) worker.start()
    },
    async stop(deadline) {
      await Promise.all(workers.map(worker => worker.stop(deadline)))
    },
  }
}
