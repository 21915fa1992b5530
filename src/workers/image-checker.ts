/**
 * Checks that a job's image can be fetched and is an image, before the job may be sent. Transfers an uploaded
 * image to upstream. It is a step of its own, so that a slow image host takes no upstream slot.
 * Invariant: a job is sent only if its image was verified within the last minutes. No log line contains a
 * URL.
 */
import type { AppId, Job, Transition } from '../domain/prediction.ts'
import { MINUTE_MS } from '../domain/time.ts'
import {
  imageCheckFailed,
  imageCheckPostponed,
  imageRejected,
  imageVerified,
  isLastImageCheck,
} from '../domain/transitions.ts'
import { IMAGE_FETCH_TIMEOUT_MS, type ImageFetch } from '../image-fetch/image-fetch.ts'
import type { Log } from '../observability/log.ts'
import type { WakeSignal } from '../runtime/wake-signal.ts'
import type { Store } from '../store/store.ts'
import { UPLOAD_TIMEOUT_MS, type Upstream } from '../upstream/client.ts'
import { createImageTransfer } from './image-transfer.ts'
import type { ModelHolds } from './model-holds.ts'
import { createWorkerLoop, type WorkerLoop } from './worker-loop.ts'

export interface ImageCheckerOptions {
  store: Store
  upstream: Upstream
  imageFetch: ImageFetch
  wakeSignal: WakeSignal
  log: Log
  now: () => number
  /** Upstream's concurrency limit; null: unlimited. */
  upstreamConcurrency: number | null
  readTimeoutMs: number
  modelHolds: Pick<ModelHolds, 'heldModels'>
}

/** Max concurrent checks. */
const CAPACITY = 32
/** Max concurrent checks per app, apart from RESERVED: an app whose hosts hang must leave slots to others. */
const PER_APP = 8
/**
 * Checks reserved for apps with none in flight: however many apps' hosts hang, another app's job is checked.
 */
const RESERVED = 8
/** Verified jobs kept waiting beyond those that fill upstream's slots. */
const READY_MARGIN = 2
const MAX_READY = 100
const INTERVAL_MS = 500
/**
 * Min ms between claims. A claim takes 2 ms with a long queue, and every submit notifies. A job verified
 * meanwhile counts as ready.
 */
const MIN_CLAIM_INTERVAL_MS = 50
/** An older verification is repeated before the job is sent. */
export const IMAGE_FRESH_MS = 5 * MINUTE_MS
const RETRY_DELAYS_MS = [2000, 15_000]
const OFFLINE_RETRY_MS = 30_000

export function createImageChecker(options: ImageCheckerOptions): WorkerLoop {
  const {
    store,
    upstream,
    imageFetch,
    wakeSignal,
    log,
    now,
    upstreamConcurrency,
    readTimeoutMs,
    modelHolds,
  } = options
  const readyTarget = Math.min(upstreamConcurrency ?? MAX_READY, MAX_READY) + READY_MARGIN
  const imageTransfer = createImageTransfer(options)
  const inFlightPerApp = new Map<AppId, number>()
  const addInFlight = (app: AppId, by: 1 | -1) => inFlightPerApp.set(app, (inFlightPerApp.get(app) ?? 0) + by)

  async function checkJob(job: Job, signal: AbortSignal): Promise<Transition | null> {
    if (job.uploadId !== null) return imageTransfer.transfer(job, signal)
    const imageCheck = await imageFetch.checkImage(job.input.imageUrl, signal)
    if (signal.aborted) return null
    const at = now()
    const logFields = { prediction: job.id, app: job.appId }
    switch (imageCheck.kind) {
      case 'image':
        return imageVerified(at)
      case 'no image':
      case 'too large':
        log.info({ ...logFields, why: imageCheck.kind }, 'the image was rejected; nothing was sent')
        return imageRejected(at)
      case 'unreachable': {
        const { reason } = imageCheck
        // If the gateway is offline, it cannot tell whether others can fetch the image.
        if (isLastImageCheck(job) && !(await upstream.probe(signal))) {
          if (signal.aborted) return null
          log.warn({ ...logFields, reason }, 'neither the image nor upstream can be reached; will retry')
          return imageCheckPostponed(now() + OFFLINE_RETRY_MS)
        }
        log.info(
          { ...logFields, reason, tries: job.imageCheckFailures + 1 },
          'the image could not be fetched',
        )
        return imageCheckFailed(now(), now() + (RETRY_DELAYS_MS[job.imageCheckFailures] ?? 0))
      }
    }
  }

  function claim(limit: number, busyApps: Iterable<AppId>): Promise<Job[]> {
    const at = now()
    return store.claimImageChecks({
      now: at,
      leaseUntil: at + IMAGE_FETCH_TIMEOUT_MS + 2 * readTimeoutMs + UPLOAD_TIMEOUT_MS + 15_000,
      limit,
      imageVerifiedAfter: at - IMAGE_FRESH_MS,
      readyTarget,
      thisProcess: { busyApps, heldModels: modelHolds.heldModels() },
    })
  }

  return createWorkerLoop({
    name: 'image checker',
    logFields: ({ id, appId }: Job) => ({ prediction: id, app: appId }),
    async claim(freeSlots) {
      const appsAtLimit = [...inFlightPerApp]
        .filter(([, inFlight]) => inFlight >= PER_APP)
        .map(([app]) => app)
      // No more than PER_APP at a time: all claimed jobs may belong to one app.
      const limit = Math.max(0, Math.min(freeSlots - RESERVED, PER_APP))
      const sharedJobs = limit > 0 ? await claim(limit, appsAtLimit) : []
      // No app has more jobs to check.
      if (sharedJobs.length < limit && appsAtLimit.length === 0) return sharedJobs
      const reservedLimit = Math.min(freeSlots - sharedJobs.length, RESERVED)
      const apps = new Set([...inFlightPerApp.keys(), ...sharedJobs.map(({ appId }) => appId)])
      const reservedJobs: Job[] = []
      while (reservedJobs.length < reservedLimit) {
        const [job] = await claim(1, apps)
        if (job === undefined) break
        reservedJobs.push(job)
        apps.add(job.appId)
      }
      return [...sharedJobs, ...reservedJobs]
    },
    async perform(job, signal) {
      addInFlight(job.appId, 1)
      try {
        const transition = await checkJob(job, signal)
        if (transition !== null) await store.change(job.id, transition, now(), job.fence)
      } finally {
        addInFlight(job.appId, -1)
        if (inFlightPerApp.get(job.appId) === 0) inFlightPerApp.delete(job.appId)
      }
    },
    wakeSignal,
    capacity: CAPACITY,
    minClaimIntervalMs: claimed => (claimed < PER_APP ? MIN_CLAIM_INTERVAL_MS : 0),
    intervalMs: INTERVAL_MS,
    log,
  })
}
