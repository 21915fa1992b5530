/**
 * Brings uploaded images upstream, before their jobs may be sent: upstream can't be made to fetch them from here.
 * Invariant: an image is brought once an app, whatever number of its jobs wait for it, and again when upstream has
 * forgotten it. Upstream's faults end no job: it waits, and all wait while upstream itself fails; where one image alone can't
 * be stored, nobody else's does.
 */
import { LRUCache } from 'lru-cache'
import type { Job, Transition } from '../domain/prediction.ts'
import {
  imageCheckPostponed,
  imageRejected,
  imageTransferred,
  UPSTREAM_RETENTION_MS,
} from '../domain/transitions.ts'
import type { ImageFetch } from '../image-fetch/image-fetch.ts'
import { streamImage } from '../store/image-stream.ts'
import type { Store, StoredImage } from '../store/store.ts'
import type { UploadOutcome, Upstream } from '../upstream/client.ts'
import { type Backoff, createBackoff } from './backoff.ts'
import type { Log } from './worker-loop.ts'

export interface ImageTransfer {
  /** Null: it was cut off, and nothing is known. */
  transfer(job: Job, signal: AbortSignal): Promise<Transition | null>
}

type TransferOutcome =
  | Exclude<UploadOutcome, { kind: 'failed' }>
  | { kind: 'gone' }
  | { kind: 'failed'; reason: string; until: number }

/** So long before upstream forgets it, it is brought again: a job may have to wait after that. */
const REUPLOAD_MARGIN_MS = 60 * 60 * 1000
/** Images that could not be stored, the latest. */
const MAX_BACKOFFS = 1000

export function createImageTransfer(options: {
  store: Store
  upstream: Upstream
  imageFetch: ImageFetch
  log: Log
  now: () => number
}): ImageTransfer {
  const { store, upstream, imageFetch, log, now } = options
  const transfersInFlight = new Map<string, Promise<TransferOutcome>>()
  /** Of all. */
  const sharedBackoff = createBackoff(now)
  /** Of one image, by its name: nobody else's waits for that. */
  const imageBackoffs = new LRUCache<string, Backoff>({ max: MAX_BACKOFFS })

  async function transferImage(
    image: StoredImage,
    imageBackoff: Backoff,
    signal: AbortSignal,
  ): Promise<TransferOutcome> {
    const { upstreamUrl } = image
    if (upstreamUrl !== null && (await imageFetch.checkImage(upstreamUrl, signal)).kind === 'image')
      return { kind: 'handed', url: upstreamUrl }
    const activeBackoff = [imageBackoff, sharedBackoff].find(backoff => backoff.isActive())
    if (activeBackoff) return { kind: 'failed', reason: 'it has just failed', until: activeBackoff.until }
    const outcome = await upstream.upload(image, streamImage(store, image), signal)
    if (outcome.kind === 'failed') {
      const { reason, isImageSpecific, retryAfterMs } = outcome
      // Cut off here: that says nothing of upstream.
      if (signal.aborted) return { kind: 'failed', reason, until: now() }
      return {
        kind: 'failed',
        reason,
        until: (isImageSpecific ? imageBackoff : sharedBackoff).start(retryAfterMs ?? 0),
      }
    }
    sharedBackoff.reset()
    imageBackoff.reset()
    if (outcome.kind === 'handed')
      await store.setUpstreamUrl(image, outcome.url, now() + UPSTREAM_RETENTION_MS - REUPLOAD_MARGIN_MS)
    return outcome
  }

  /** Those who come meanwhile wait for the same. */
  async function transferOnce({ uploadId }: Job, signal: AbortSignal): Promise<TransferOutcome> {
    const image = await store.imageByUploadId(uploadId ?? '', now())
    if (image === null) return { kind: 'gone' }
    const imageKey = `${image.appId} ${image.hash}`
    const imageBackoff = imageBackoffs.get(imageKey) ?? createBackoff(now)
    imageBackoffs.set(imageKey, imageBackoff)
    const pending =
      transfersInFlight.get(imageKey) ??
      transferImage(image, imageBackoff, signal).finally(() => transfersInFlight.delete(imageKey))
    transfersInFlight.set(imageKey, pending)
    return pending
  }

  return {
    async transfer(job, signal) {
      const outcome = await transferOnce(job, signal)
      if (signal.aborted) return null
      const logFields = { prediction: job.id, app: job.appId }
      switch (outcome.kind) {
        case 'handed':
          return imageTransferred(outcome.url, now())
        case 'gone':
          log.warn(logFields, 'the uploaded image is gone; nothing was sent')
          return imageRejected(now())
        case 'refused':
          log.info(logFields, 'upstream refuses the uploaded image; nothing was sent')
          return imageRejected(now())
        case 'failed': {
          const { reason, until } = outcome
          log.warn(
            { ...logFields, why: reason, waitMs: until - now() },
            'the uploaded image could not be brought upstream; it is tried again',
          )
          return imageCheckPostponed(until)
        }
      }
    },
  }
}
