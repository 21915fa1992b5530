/**
 * Looks whether an image can be fetched, and is one, before its job may be sent; one that was uploaded here is brought
 * upstream. A step of its own, so that a slow host takes none of the account's places.
 * Invariant: nothing is sent whose image was not seen within the last minutes. What is logged names no URL.
 */

import type { AppId, Decide, Job } from '../domain/prediction.ts'
import { imageMissed, imageRefused, imageSeen, imageUntried, isLastTry } from '../domain/transitions.ts'
import { REACH_TIMEOUT_MS, type Reach } from '../image-fetch/image-fetch.ts'
import type { Bell } from '../runtime/wake-signal.ts'
import type { Store } from '../store/store.ts'
import { UPLOAD_TIMEOUT_MS, type Upstream } from '../upstream/client.ts'
import { createCourier } from './image-transfer.ts'
import { createLoop, type Log, type Loop } from './worker-loop.ts'

export interface InspectorOptions {
  store: Store
  upstream: Upstream
  reach: Reach
  bell: Bell
  log: Log
  now: () => number
  /** Jobs at once; null is no limit. */
  concurrency: number | null
  readTimeoutMs: number
}

/** Looks at once. */
const CAPACITY = 32
/** Of them an app's own, but for a few: one whose hosts hang must leave the others room. */
const SHARE = 8
/** Looks for apps that have none in hand: however many apps' hosts hang, another's job is looked at. */
const KEPT = 8
/** Jobs whose image was seen and that wait, beside those that fill the account's places. */
const SPARE = 2
const MOST_STOCK = 100
const INTERVAL_MS = 500
/** A claim takes 2 ms where much waits, and each submit rings; and what is in hand by then is ready, and counts. */
const REST_MS = 50
/** What was seen longer ago is looked at again before it is sent. */
export const IMAGE_FRESH_MS = 5 * 60_000
const RETRIES_MS = [2000, 15_000]
const OFFLINE_RETRY_MS = 30_000

export function createInspector(options: InspectorOptions): Loop {
  const { store, upstream, reach, bell, log, now, concurrency, readTimeoutMs } = options
  const stock = Math.min(concurrency ?? MOST_STOCK, MOST_STOCK) + SPARE
  const courier = createCourier(options)
  const inHand = new Map<AppId, number>()
  const count = (app: AppId, by: 1 | -1) => inHand.set(app, (inHand.get(app) ?? 0) + by)

  async function judge(job: Job, signal: AbortSignal): Promise<Decide | null> {
    if (job.uploadId !== null) return courier.bring(job, signal)
    const reached = await reach.look(job.input.imageUrl, signal)
    if (signal.aborted) return null
    const at = now()
    const told = { prediction: job.id, app: job.appId }
    switch (reached.kind) {
      case 'image':
        return imageSeen(at)
      case 'no image':
      case 'too large':
        log.info({ ...told, why: reached.kind }, 'the image is refused; nothing was sent')
        return imageRefused(at)
      case 'unreachable': {
        const { reason } = reached
        // A gateway that reaches nobody can't tell what others reach.
        if (isLastTry(job) && !(await upstream.probe(signal))) {
          if (signal.aborted) return null
          log.warn({ ...told, reason }, 'neither the image nor upstream can be reached; it is tried again')
          return imageUntried(now() + OFFLINE_RETRY_MS)
        }
        log.info({ ...told, reason, tries: job.imageTries + 1 }, 'the image could not be fetched')
        return imageMissed(now(), now() + (RETRIES_MS[job.imageTries] ?? 0))
      }
    }
  }

  function claim(limit: number, exceptApps: Iterable<AppId>): Promise<Job[]> {
    const at = now()
    return store.claimImages({
      now: at,
      leaseUntil: at + REACH_TIMEOUT_MS + 2 * readTimeoutMs + UPLOAD_TIMEOUT_MS + 15_000,
      limit,
      imagesSince: at - IMAGE_FRESH_MS,
      stock,
      exceptApps,
    })
  }

  return createLoop({
    name: 'inspector',
    about: ({ id, appId }: Job) => ({ prediction: id, app: appId }),
    async claim(places) {
      const many = [...inHand].filter(([, looks]) => looks >= SHARE).map(([app]) => app)
      // At most a share at a time: all that is claimed may be one app's.
      const limit = Math.max(0, Math.min(places - KEPT, SHARE))
      const common = limit > 0 ? await claim(limit, many) : []
      // There was nothing more of anybody's.
      if (common.length < limit && many.length === 0) return common
      const free = Math.min(places - common.length, KEPT)
      const apps = new Set([...inHand.keys(), ...common.map(({ appId }) => appId)])
      const kept: Job[] = []
      while (kept.length < free) {
        const [job] = await claim(1, apps)
        if (job === undefined) break
        kept.push(job)
        apps.add(job.appId)
      }
      return [...common, ...kept]
    },
    async perform(job, signal) {
      count(job.appId, 1)
      try {
        const decide = await judge(job, signal)
        if (decide !== null) await store.change(job.id, decide, now(), job.fence)
      } finally {
        count(job.appId, -1)
        if (inHand.get(job.appId) === 0) inHand.delete(job.appId)
      }
    },
    bell,
    capacity: CAPACITY,
    rest: claimed => (claimed < SHARE ? REST_MS : 0),
    intervalMs: INTERVAL_MS,
    log,
  })
}
