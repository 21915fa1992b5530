/**
 * Looks whether an image can be fetched, and is one, before its job may be sent; one that was uploaded here is brought
 * upstream. A step of its own, so that a slow host takes none of the account's places.
 * Invariant: nothing is sent whose image was not seen within the last minutes. What is logged names no URL.
 */

import type { AppId, Job, Transition } from '../domain/prediction.ts'
import {
  imageCheckFailed,
  imageCheckPostponed,
  imageRejected,
  imageVerified,
  isLastImageCheck,
} from '../domain/transitions.ts'
import { IMAGE_FETCH_TIMEOUT_MS, type ImageFetch } from '../image-fetch/image-fetch.ts'
import type { WakeSignal } from '../runtime/wake-signal.ts'
import type { Store } from '../store/store.ts'
import { UPLOAD_TIMEOUT_MS, type Upstream } from '../upstream/client.ts'
import { createImageTransfer } from './image-transfer.ts'
import { createWorkerLoop, type Log, type WorkerLoop } from './worker-loop.ts'

export interface ImageCheckerOptions {
  store: Store
  upstream: Upstream
  imageFetch: ImageFetch
  wakeSignal: WakeSignal
  log: Log
  now: () => number
  /** Jobs at once; null is no limit. */
  upstreamConcurrency: number | null
  readTimeoutMs: number
}

/** Looks at once. */
const CAPACITY = 32
/** Of them an app's own, but for a few: one whose hosts hang must leave the others room. */
const PER_APP = 8
/** Looks for apps that have none in hand: however many apps' hosts hang, another's job is looked at. */
const RESERVED = 8
/** Jobs whose image was seen and that wait, beside those that fill the account's places. */
const READY_MARGIN = 2
const MAX_READY = 100
const INTERVAL_MS = 500
/** A claim takes 2 ms where much waits, and each submit rings; and what is in hand by then is ready, and counts. */
const MIN_CLAIM_INTERVAL_MS = 50
/** What was seen longer ago is looked at again before it is sent. */
export const IMAGE_FRESH_MS = 5 * 60_000
const RETRY_DELAYS_MS = [2000, 15_000]
const OFFLINE_RETRY_MS = 30_000

export function createImageChecker(options: ImageCheckerOptions): WorkerLoop {
  const { store, upstream, imageFetch, wakeSignal, log, now, upstreamConcurrency, readTimeoutMs } = options
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
        log.info({ ...logFields, why: imageCheck.kind }, 'the image is refused; nothing was sent')
        return imageRejected(at)
      case 'unreachable': {
        const { reason } = imageCheck
        // A gateway that reaches nobody can't tell what others reach.
        if (isLastImageCheck(job) && !(await upstream.probe(signal))) {
          if (signal.aborted) return null
          log.warn(
            { ...logFields, reason },
            'neither the image nor upstream can be reached; it is tried again',
          )
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

  function claim(limit: number, exceptApps: Iterable<AppId>): Promise<Job[]> {
    const at = now()
    return store.claimImageChecks({
      now: at,
      leaseUntil: at + IMAGE_FETCH_TIMEOUT_MS + 2 * readTimeoutMs + UPLOAD_TIMEOUT_MS + 15_000,
      limit,
      imageVerifiedAfter: at - IMAGE_FRESH_MS,
      readyTarget,
      exceptApps,
    })
  }

  return createWorkerLoop({
    name: 'inspector',
    logFields: ({ id, appId }: Job) => ({ prediction: id, app: appId }),
    async claim(freeSlots) {
      const appsAtLimit = [...inFlightPerApp]
        .filter(([, inFlight]) => inFlight >= PER_APP)
        .map(([app]) => app)
      // At most a share at a time: all that is claimed may be one app's.
      const limit = Math.max(0, Math.min(freeSlots - RESERVED, PER_APP))
      const sharedJobs = limit > 0 ? await claim(limit, appsAtLimit) : []
      // There was nothing more of anybody's.
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
