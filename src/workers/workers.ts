/**
 * Builds every worker of the gateway and what only they share, and starts and stops them together.
 */
import type { Config } from '../config/config.ts'
import type { VideoModel } from '../domain/models.ts'
import { HOUR_MS } from '../domain/time.ts'
import type { Events } from '../events/events.ts'
import type { ImageFetch } from '../image-fetch/image-fetch.ts'
import type { Observability } from '../observability/observability.ts'
import type { Clocks } from '../runtime/clocks.ts'
import { createContinuousRun } from '../runtime/continuous-run.ts'
import { createWakeSignal, type WakeSignal } from '../runtime/wake-signal.ts'
import type { Store } from '../store/store.ts'
import type { Upstream } from '../upstream/client.ts'
import type { WebhookUrls } from '../upstream/webhook-url.ts'
import { createClockWatch } from './clock-watch.ts'
import { createHoldWatch } from './hold-watch.ts'
import { createImageChecker } from './image-checker.ts'
import { createJanitor } from './janitor.ts'
import { createModelHolds } from './model-holds.ts'
import { createPollCircuit } from './poll-circuit.ts'
import { createPollTiming } from './poll-timing.ts'
import { createPoller } from './poller.ts'
import { createReconciler } from './reconciler.ts'
import { createRestoreReview } from './restore-review.ts'
import { createSubmitCircuitProbe } from './submit-circuit-probe.ts'
import { createSubmitter } from './submitter.ts'
import { createWebhookIntake, type WebhookIntake } from './webhook-intake.ts'
import type { WorkerLoop } from './worker-loop.ts'

export interface Workers extends Pick<WorkerLoop, 'start' | 'stop'> {
  webhookIntake: WebhookIntake
  /** Whether upstream can be read, as far as polls and the probes of the submit circuit tell. */
  areReadsOn(): boolean
}

/** How the workers reach upstream and image hosts, and how upstream reaches them. */
export interface UpstreamAccess {
  client: Upstream
  imageFetch: ImageFetch
  webhookUrls: WebhookUrls
  /** Whether submits pass a webhook URL. */
  webhooksEnabled: boolean
  /** Expected ms of a job of a model until any has finished. */
  expectedMs(model: VideoModel): number
}

export interface WorkersOptions {
  config: Config
  store: Store
  /** Notified after a write: the image checker or the submitter may have a job to claim. */
  wakeSignal: WakeSignal
  upstream: UpstreamAccess
  events: Pick<Events, 'eventLog'>
  observability: Pick<Observability, 'log' | 'metrics'>
  clocks: Clocks
}

/** A completed job has this many minimum poll intervals for its outputs to appear. */
const OUTPUT_GRACE_POLLS = 5

/** From this many failed probes in a row upstream counts as unreadable, though no job is polled. */
const MAX_FAILED_PROBES = 3

export function createWorkers(options: WorkersOptions): Workers {
  const { config, store, wakeSignal, clocks } = options
  const now = clocks.wall
  const { eventLog } = options.events
  const { log, metrics } = options.observability
  const { client: upstream, imageFetch, webhookUrls, webhooksEnabled, expectedMs } = options.upstream
  const { submitTimeoutMs, readTimeoutMs, deadlineMs, submitUnknownAfterMs } = config
  const { upstreamConcurrency, upstreamSubmitsPerMinute, pollMinIntervalMs, pollMaxIntervalMs } = config

  /** Notified when a job should be polled now. */
  const pollSignal = createWakeSignal()
  const webhookIntake = createWebhookIntake({ store, webhookUrls, log, now, notifyPoller: pollSignal.notify })
  const pollCircuit = createPollCircuit()
  const isPollCircuitClosed = () => !pollCircuit.isOpen
  metrics.trackPollCircuit(isPollCircuitClosed)
  const pollTiming = createPollTiming({
    store,
    pollLimits: { minMs: pollMinIntervalMs, maxMs: pollMaxIntervalMs },
    expectedMs,
    deadlineMs,
    webhooksEnabled,
    webhookIntake,
  })
  /** Shared by submitter and reconciler: a submit in flight here was not abandoned. */
  const submittingIds = new Set<string>()

  /** Failed probes of the submit circuit in a row. */
  let failedProbes = 0
  /** Shared by all workers that give up after a time. */
  const continuousRun = createContinuousRun(clocks)
  /** Shared by image checker and submitter. */
  const modelHolds = createModelHolds({ log, now })

  const common = { store, upstream, log, now }
  const workers = [
    createImageChecker({ ...common, imageFetch, wakeSignal, upstreamConcurrency, readTimeoutMs, modelHolds }),
    createSubmitter({
      ...common,
      wakeSignal,
      upstreamConcurrency,
      upstreamSubmitsPerMinute,
      pollTiming,
      webhookUrls,
      webhookIntake,
      onSubmitted: metrics.observeQueueWait,
      submitTimeoutMs,
      submittingIds,
      modelHolds,
    }),
    createPoller({
      ...common,
      pollTiming,
      pollCircuit,
      pollSignal,
      continuousRun,
      deadlineMs,
      outputGraceMs: OUTPUT_GRACE_POLLS * pollMinIntervalMs,
      readTimeoutMs,
    }),
    createReconciler({
      ...common,
      pollCircuit,
      submittingIds,
      continuousRun,
      submitTimeoutMs,
      readTimeoutMs,
      submitUnknownAfterMs,
    }),
    createRestoreReview({ ...common, submitTimeoutMs }),
    createSubmitCircuitProbe({
      ...common,
      onProbe(isReadable) {
        failedProbes = isReadable ? 0 : failedProbes + 1
      },
    }),
    createHoldWatch({ store, log, now }),
    createClockWatch({ store, log, clocks, continuousRun }),
    createJanitor({
      store,
      eventLog,
      log,
      now,
      eventRetentionMs: config.eventRetentionHours * HOUR_MS,
      deadlineMs,
      continuousRun,
    }),
  ]

  return {
    webhookIntake,
    areReadsOn: () => isPollCircuitClosed() && failedProbes < MAX_FAILED_PROBES,
    start() {
      for (const worker of workers) worker.start()
    },
    async stop(deadline) {
      await Promise.all(workers.map(worker => worker.stop(deadline)))
    },
  }
}
