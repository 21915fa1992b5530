/**
 * Settles rows whose POST has no answer: it takes over those of a process that died, and looks for each in upstream's list.
 * Invariant: such a row is never sent again, and is given an upstream job only if that can be nobody else's: the one job
 * of its model in its window that no row has, where no other POST of that model without an answer was near. Anything
 * less could hand one app another's video.
 */

import { MODELS } from '../domain/models.ts'
import { inputSent, type Job } from '../domain/prediction.ts'
import { abandoned, accepted, unfound } from '../domain/transitions.ts'
import type { Store } from '../store/store.ts'
import type { Listed, Upstream } from '../upstream/client.ts'
import { agrees } from '../upstream/request-body.ts'
import { isPathSegment } from '../upstream/response-schemas.ts'
import type { Breaker } from './poll-circuit.ts'
import { nextSearch, searchWindow } from './reconcile-schedule.ts'
import { createLoop, type Log, type Loop } from './worker-loop.ts'

export interface ReconcilerOptions {
  store: Store
  upstream: Upstream
  breaker: Breaker
  log: Log
  now: () => number
  /** What this very process has in hand is not abandoned, even if it slept through its lease. */
  underway: ReadonlySet<string>
  submitTimeoutMs: number
  readTimeoutMs: number
  /** After it an app is told SUBMISSION_UNKNOWN. */
  unknownMs: number
}

type Found = { kind: 'found'; upstreamId: string } | { kind: 'absent' | 'unsure' | 'unreadable' }

const INTERVAL_MS = 250
const CAPACITY = 4
/** A long list is read page by page. */
const PAGES = 4

export function createReconciler(options: ReconcilerOptions): Loop {
  const { store, upstream, breaker, log, now, underway, submitTimeoutMs, readTimeoutMs, unknownMs } = options
  /** A search is over before its lease is. */
  const longestMs = PAGES * readTimeoutMs

  async function take(job: Job): Promise<void> {
    const at = now()
    const { to } = searchWindow(job.begunAt ?? at, submitTimeoutMs)
    if (await store.change(job.id, abandoned(at, to), at, job.fence))
      log.warn(
        { prediction: job.id, app: job.appId },
        'a POST was begun and never answered; it is looked for',
      )
  }

  async function search(job: Job, signal: AbortSignal): Promise<void> {
    const found = await find(job, signal)
    if (signal.aborted) return
    const at = now()
    const told = { prediction: job.id, app: job.appId }
    if (found.kind === 'found') {
      const { upstreamId } = found
      if (await store.change(job.id, accepted(upstreamId, at), at, job.fence))
        log.info({ ...told, upstreamId }, 'a POST without an answer was found in the list')
      return
    }
    const soonest = at + (found.kind === 'unreadable' ? submitTimeoutMs / 2 : 0)
    const next = Math.max(soonest, nextSearch(job.begunAt ?? at, at, submitTimeoutMs))
    const decide = unfound({ now: at, next, patienceMs: unknownMs }, found.kind === 'absent')
    const changed = await store.change(job.id, decide, at, job.fence)
    if (changed !== null && changed.status !== job.status)
      log.warn(told, 'the outcome of a POST stays unknown; it is looked for as long as upstream remembers')
  }

  /** The one job that can be nobody else's; or whether there is none at all. */
  async function find(job: Job, signal: AbortSignal): Promise<Found> {
    const begun = job.begunAt ?? now()
    const { from, to, width } = searchWindow(begun, submitTimeoutMs)
    // Before its end another one may still be created.
    if (now() < to) return { kind: 'unsure' }
    if (breaker.isOpen) return { kind: 'unreadable' }
    const timely = AbortSignal.any([signal, AbortSignal.timeout(longestMs)])
    const listed = await upstream.list(MODELS[job.model].upstreamId, from, to, timely)
    if (listed === null) return { kind: 'unreadable' }
    // In this order: a rival that has got its id since is no rival any more, and its id has an owner.
    const hasRival = await store.hasRival(job, begun - width, begun + width)
    const [only, another] = await unowned(listed)
    if (only === undefined) return { kind: 'absent' }
    const isSure = isPathSegment(only.upstreamId) && only.model !== null && only.createdAt !== null
    const isIts = isSure && (only.input === null || agrees(only.input, inputSent(job)))
    if (another !== undefined || hasRival || !isIts) return { kind: 'unsure' }
    return { kind: 'found', upstreamId: only.upstreamId }
  }

  async function unowned(listed: readonly Listed[]): Promise<Listed[]> {
    const owners = await Promise.all(listed.map(({ upstreamId }) => store.ownerOf(upstreamId)))
    return listed.filter((_, i) => owners[i] === null)
  }

  return createLoop<Job>({
    name: 'reconciler',
    about: ({ id, appId }: Job) => ({ prediction: id, app: appId }),
    claim: async limit => {
      const at = now()
      // No lease: until it is settled it stays due, and holds every submit back.
      const left = await store.claimAbandoned({ now: at, leaseUntil: at, limit, except: underway })
      if (left.length > 0) return left
      return store.claimSought({ now: at, leaseUntil: at + longestMs + 15_000, limit })
    },
    perform: (job, signal) => (job.submission === 'begun' ? take(job) : search(job, signal)),
    capacity: CAPACITY,
    intervalMs: INTERVAL_MS,
    log,
  })
}
