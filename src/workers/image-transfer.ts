/**
 * Brings uploaded images upstream, before their jobs may be sent: upstream can't be made to fetch them from here.
 * Invariant: an image is brought once an app, whatever number of its jobs wait for it, and again when upstream has
 * forgotten it. Upstream's faults end no job: it waits, and all wait while upstream itself fails; where one image alone can't
 * be stored, nobody else's does.
 */
import { LRUCache } from 'lru-cache'
import type { Decide, Job } from '../domain/prediction.ts'
import { imageHanded, imageRefused, imageUntried, UPSTREAM_MEMORY } from '../domain/transitions.ts'
import type { Reach } from '../image-fetch/image-fetch.ts'
import { partsOf } from '../store/image-stream.ts'
import type { Handing, Store } from '../store/store.ts'
import type { Handed, Upstream } from '../upstream/client.ts'
import { createRest, type Rest } from './backoff.ts'
import type { Log } from './worker-loop.ts'

export interface Courier {
  /** Null: it was cut off, and nothing is known. */
  bring(job: Job, signal: AbortSignal): Promise<Decide | null>
}

type Brought =
  | Exclude<Handed, { kind: 'failed' }>
  | { kind: 'gone' }
  | { kind: 'failed'; why: string; until: number }

/** So long before upstream forgets it, it is brought again: a job may have to wait after that. */
const MARGIN_MS = 60 * 60 * 1000
/** Images that could not be stored, the latest. */
const MOST_RESTS = 1000

export function createCourier(options: {
  store: Store
  upstream: Upstream
  reach: Reach
  log: Log
  now: () => number
}): Courier {
  const { store, upstream, reach, log, now } = options
  const underway = new Map<string, Promise<Brought>>()
  /** Of all. */
  const rest = createRest(now)
  /** Of one image, by its name: nobody else's waits for that. */
  const rests = new LRUCache<string, Rest>({ max: MOST_RESTS })

  async function carry(image: Handing, own: Rest, signal: AbortSignal): Promise<Brought> {
    const { handedUrl } = image
    if (handedUrl !== null && (await reach.look(handedUrl, signal)).kind === 'image')
      return { kind: 'handed', url: handedUrl }
    const resting = [own, rest].find(one => one.isOn())
    if (resting) return { kind: 'failed', why: 'it has just failed', until: resting.until }
    const handed = await upstream.upload(image, partsOf(store, image), signal)
    if (handed.kind === 'failed') {
      const { why, isOfImage, retryAfterMs } = handed
      // Cut off here: that says nothing of upstream.
      if (signal.aborted) return { kind: 'failed', why, until: now() }
      return { kind: 'failed', why, until: (isOfImage ? own : rest).begin(retryAfterMs ?? 0) }
    }
    rest.end()
    own.end()
    if (handed.kind === 'handed') await store.handed(image, handed.url, now() + UPSTREAM_MEMORY - MARGIN_MS)
    return handed
  }

  /** Those who come meanwhile wait for the same. */
  async function once({ uploadId }: Job, signal: AbortSignal): Promise<Brought> {
    const image = await store.imageOf(uploadId ?? '', now())
    if (image === null) return { kind: 'gone' }
    const name = `${image.appId} ${image.hash}`
    const own = rests.get(name) ?? createRest(now)
    rests.set(name, own)
    const carried = underway.get(name) ?? carry(image, own, signal).finally(() => underway.delete(name))
    underway.set(name, carried)
    return carried
  }

  return {
    async bring(job, signal) {
      const brought = await once(job, signal)
      if (signal.aborted) return null
      const told = { prediction: job.id, app: job.appId }
      switch (brought.kind) {
        case 'handed':
          return imageHanded(brought.url, now())
        case 'gone':
          log.warn(told, 'the uploaded image is gone; nothing was sent')
          return imageRefused(now())
        case 'refused':
          log.info(told, 'upstream refuses the uploaded image; nothing was sent')
          return imageRefused(now())
        case 'failed': {
          const { why, until } = brought
          log.warn(
            { ...told, why, waitMs: until - now() },
            'the uploaded image could not be brought upstream; it is tried again',
          )
          return imageUntried(until)
        }
      }
    },
  }
}
