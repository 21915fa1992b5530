/**
 * Brings uploaded images upstream, before their jobs may be sent: upstream can't be made to fetch them from here.
 * Invariant: an image is brought once an app, whatever number of its jobs wait for it, and again when upstream has
 * forgotten it. Upstream's faults end no job: it waits, and whoever else's does, too.
 */
import { imageHanded, imageRefused, imageUntried, UPSTREAM_MEMORY } from '../decisions.ts'
import type { Decide, Job } from '../prediction.ts'
import type { Handing, Store } from '../store/store.ts'
import type { Handed, Upstream } from '../upstream/client.ts'
import type { Reach } from '../upstream/reach.ts'
import type { Log } from './loop.ts'

export interface Courier {
  /** Null: it was cut off, and nothing is known. */
  bring(job: Job, signal: AbortSignal): Promise<Decide | null>
}

type Brought = Handed | { kind: 'gone' }

/** So long before upstream forgets it, it is brought again: a job may have to wait after that. */
const MARGIN_MS = 60 * 60 * 1000
const FIRST_WAIT_MS = 2000
const LAST_WAIT_MS = 5 * 60_000
/** What upstream may ask for. */
const LONGEST_REST_MS = 60 * 60_000

export function createCourier(options: {
  store: Store
  upstream: Upstream
  reach: Reach
  log: Log
  now: () => number
}): Courier {
  const { store, upstream, reach, log, now } = options
  const underway = new Map<string, Promise<Brought>>()
  let wait = FIRST_WAIT_MS
  /** None is brought before. In memory: a restart tries once more, no harm. */
  let until = 0

  /** One that ends farther ahead was begun by a clock that was wrong. */
  const isResting = () => now() < until && until - now() <= LONGEST_REST_MS

  async function carry(image: Handing, signal: AbortSignal): Promise<Brought> {
    const { handedUrl } = image
    if (handedUrl !== null && (await reach.look(handedUrl, signal)).kind === 'image')
      return { kind: 'handed', url: handedUrl }
    if (isResting()) return { kind: 'failed', retryAfterMs: null, why: 'it has just failed' }
    const handed = await upstream.upload(image, partsOf(image), signal)
    if (handed.kind === 'handed') await store.handed(image, handed.url, now() + UPSTREAM_MEMORY - MARGIN_MS)
    return handed
  }

  async function* partsOf(image: Handing): AsyncGenerator<Buffer> {
    for (let sent = 0, part = 0; sent < image.bytes; part++) {
      const data = await store.imagePart(image, part)
      if (data === null) throw new Error('gone')
      sent += data.length
      yield data
    }
  }

  /** Those who come meanwhile wait for the same. */
  async function once({ uploadId }: Job, signal: AbortSignal): Promise<Brought> {
    const image = await store.imageOf(uploadId ?? '', now())
    if (image === null) return { kind: 'gone' }
    const name = `${image.appId} ${image.hash}`
    const carried = underway.get(name) ?? carry(image, signal).finally(() => underway.delete(name))
    underway.set(name, carried)
    return carried
  }

  /** Ever longer, while nothing but faults comes; those of one moment are one. */
  function nextTry(retryAfterMs: number | null): number {
    const at = now()
    if (!isResting()) {
      until = at + Math.max(wait, retryAfterMs ?? 0)
      wait = Math.min(2 * wait, LAST_WAIT_MS)
    }
    return until
  }

  return {
    async bring(job, signal) {
      const brought = await once(job, signal)
      if (signal.aborted) return null
      const told = { prediction: job.id, app: job.appId }
      switch (brought.kind) {
        case 'handed':
          wait = FIRST_WAIT_MS
          until = 0
          return imageHanded(brought.url, now())
        case 'gone':
          log.warn(told, 'the uploaded image is gone; nothing was sent')
          return imageRefused(now())
        case 'refused':
          log.info(told, 'upstream refuses the uploaded image; nothing was sent')
          return imageRefused(now())
        case 'failed': {
          const next = nextTry(brought.retryAfterMs)
          const waitMs = next - now()
          log.warn(
            { ...told, why: brought.why, waitMs },
            'the uploaded image could not be brought upstream; it is tried again',
          )
          return imageUntried(next)
        }
      }
    },
  }
}
