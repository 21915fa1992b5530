/**
 * Transfers uploaded images to upstream before their jobs may be sent: upstream cannot fetch them from here.
 * Invariant: an image is transferred once per app, however many of its jobs wait for it, and again when
 * upstream has deleted it. Upstream's failures end no job: the job waits. While upstream itself fails, all
 * transfers wait. If only one image cannot be stored, only its jobs wait.
 */
import { LRUCache } from 'lru-cache'
import type { Job, Transition } from '../domain/prediction.ts'
import { HOUR_MS } from '../domain/time.ts'
import {
  imageCheckPostponed,
  imageRejected,
  imageTransferred,
  UPSTREAM_RETENTION_MS,
} from '../domain/transitions.ts'
import type { ImageFetch } from '../image-fetch/image-fetch.ts'
import type { Log } from '../observability/log.ts'
import { streamImage } from '../store/image-stream.ts'
import type { Store, StoredImage } from '../store/store.ts'
import type { UploadOutcome, Upstream } from '../upstream/client.ts'
import { type Backoff, createBackoff } from './backoff.ts'

export interface ImageTransfer {
  /** Null if `signal` aborted the transfer: nothing is known. */
  transfer(job: Job, signal: AbortSignal): Promise<Transition | null>
}

type TransferOutcome =
  | Exclude<UploadOutcome, { kind: 'failed' }>
  | { kind: 'gone' }
  | { kind: 'failed'; reason: string; until: number }

/** An image is transferred again this long before upstream deletes it: its job may have to wait. */
const REUPLOAD_MARGIN_MS = HOUR_MS
/** Max remembered backoffs of single images; the least recently used is dropped. */
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
  /** Backoff of all transfers. */
  const sharedBackoff = createBackoff(now)
  /** Backoff per image; it delays no other image. */
  const imageBackoffs = new LRUCache<string, Backoff>({ max: MAX_BACKOFFS })

  async function transferImage(
    image: StoredImage,
    imageBackoff: Backoff,
    signal: AbortSignal,
  ): Promise<TransferOutcome> {
    const { upstreamUrl } = image
    if (upstreamUrl !== null && (await imageFetch.checkImage(upstreamUrl, signal)).kind === 'image')
      return { kind: 'stored', url: upstreamUrl }
    const activeBackoff = [imageBackoff, sharedBackoff].find(backoff => backoff.isActive())
    if (activeBackoff) return { kind: 'failed', reason: 'it has just failed', until: activeBackoff.until }
    const outcome = await upstream.upload(image, streamImage(store, image), signal)
    if (outcome.kind === 'failed') {
      const { reason, isImageSpecific, retryAfterMs } = outcome
      // The abort came from here and says nothing about upstream.
      if (signal.aborted) return { kind: 'failed', reason, until: now() }
      return {
        kind: 'failed',
        reason,
        until: (isImageSpecific ? imageBackoff : sharedBackoff).start(retryAfterMs ?? 0),
      }
    }
    sharedBackoff.reset()
    imageBackoff.reset()
    if (outcome.kind === 'stored')
      await store.setUpstreamUrl(image, outcome.url, now() + UPSTREAM_RETENTION_MS - REUPLOAD_MARGIN_MS)
    return outcome
  }

  /** Concurrent calls for one image share one transfer. */
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
        case 'stored':
          return imageTransferred(outcome.url, now())
        case 'gone':
          log.warn(logFields, 'the uploaded image no longer exists; nothing was sent')
          return imageRejected(now())
        case 'rejected':
          log.info(logFields, 'upstream rejected the uploaded image; nothing was sent')
          return imageRejected(now())
        case 'failed': {
          const { reason, until } = outcome
          log.warn(
            { ...logFields, why: reason, waitMs: until - now() },
            'the uploaded image could not be transferred; will retry',
          )
          return imageCheckPostponed(until)
        }
      }
    },
  }
}
