/**
 * Compares the rows of a restored copy with upstream's list: once, when every POST of the lost time has its job.
 * A row gets its job if the job can be nobody else's (domain/restore.ts). The others stay held, with what was found, until
 * an operator releases or cancels them.
 */
import { startOfUtcMonth } from '../domain/app-limits.ts'
import { MODELS, VIDEO_MODELS, type VideoModel } from '../domain/models.ts'
import { type Job, upstreamInput } from '../domain/prediction.ts'
import {
  compareWithList,
  type InputComparison,
  isRefunded,
  type LostTime,
  type RestoredRow,
  type RestoreReport,
  type SpendCorrection,
} from '../domain/restore.ts'
import { HOUR_MS, MINUTE_MS } from '../domain/time.ts'
import { submitRecovered, UPSTREAM_RETENTION_MS } from '../domain/transitions.ts'
import type { Log } from '../observability/log.ts'
import type { Store } from '../store/store.ts'
import type { ListedJob, Upstream } from '../upstream/client.ts'
import { matchesInput } from '../upstream/request-body.ts'
import { isPathSegment } from '../upstream/response-schemas.ts'
import { searchWindow } from './reconcile-schedule.ts'
import { createWorkerLoop, type WorkerLoop } from './worker-loop.ts'

const INTERVAL_MS = 1000
/** Delay after a list that could not be read. */
const RETRY_MS = 30_000
/** Time that one list covers, at first and at the smallest: a list of more than 5,000 jobs can't be read. */
const MAX_SPAN_MS = 6 * HOUR_MS
const MIN_SPAN_MS = MINUTE_MS

/** The lost times without a report, as one. */
type PendingReview = Pick<LostTime, 'from' | 'to'>

export function createRestoreReview(options: {
  store: Store
  upstream: Pick<Upstream, 'list'>
  log: Log
  now: () => number
  submitTimeoutMs: number
}): WorkerLoop {
  const { store, upstream, log, now, submitTimeoutMs } = options
  let hasLoggedStart = false
  let retryAt = 0

  /** Null if the list could not be read to its end. */
  async function listAll(model: VideoModel, from: number, to: number, signal: AbortSignal) {
    const jobs = new Map<string, ListedJob>()
    let spanMs = MAX_SPAN_MS
    for (let start = from; start <= to; ) {
      const end = Math.min(start + spanMs, to)
      const listed = await upstream.list(MODELS[model].upstreamId, start, end, signal)
      if (listed === null && (spanMs <= MIN_SPAN_MS || signal.aborted)) return null
      if (listed === null) spanMs /= 2
      else {
        for (const job of listed) jobs.set(job.upstreamId, job)
        start = end + 1
      }
    }
    return [...jobs.values()]
  }

  /** Returns false if upstream could not be read. */
  async function review(pending: PendingReview, signal: AbortSignal): Promise<boolean> {
    const earliestOf = (startedAt: number) => searchWindow(startedAt, submitTimeoutMs).from
    const { to } = searchWindow(pending.to, submitTimeoutMs)
    const begun = await store.unansweredJobs(pending.to)
    const listFrom = Math.min(...[pending.from, ...begun.map(startOf)].map(earliestOf))
    const listedByModel = new Map<VideoModel, ListedJob[]>()
    for (const model of VIDEO_MODELS) {
      const listed = await listAll(model, listFrom, to, signal)
      if (listed === null) return false
      listedByModel.set(model, listed)
    }
    // The order matters: a row that received its id meanwhile is not compared, and its job is owned.
    const rows: RestoredRow[] = [
      ...(await store.heldJobs()).map(({ job }) => ({ job, earliestAt: earliestOf(pending.from) })),
      ...(await store.unansweredJobs(now())).map(job => ({ job, earliestAt: earliestOf(startOf(job)) })),
    ]
    const report: RestoreReport = {
      adopted: 0,
      absent: 0,
      unsure: 0,
      orphans: 0,
      orphanCost: 0,
      attributedCost: 0,
      isIncomplete: listFrom < now() - UPSTREAM_RETENTION_MS,
    }
    const held: { id: string; reason: 'restored-absent' | 'restored-unsure' }[] = []
    const corrections: SpendCorrection[] = []
    for (const [model, listed] of listedByModel) {
      const rowsOfModel = rows.filter(({ job }) => job.model === model)
      const unowned = await filterUnowned(listed)
      const { findings, orphans } = compareWithList(rowsOfModel, unowned, compareInput)
      for (const [i, finding] of findings.entries()) {
        const { job } = rowsOfModel[i]!
        if (finding.kind === 'adopt' && (await adopt(job, finding.listed))) report.adopted++
        else {
          const isAbsent = finding.kind === 'restored-absent' && !report.isIncomplete
          if (isAbsent) report.absent++
          else report.unsure++
          held.push({ id: job.id, reason: isAbsent ? 'restored-absent' : 'restored-unsure' })
        }
      }
      for (const orphan of orphans) {
        const cost = isRefunded(orphan.error) ? 0 : MODELS[model].price
        report.orphans++
        report.orphanCost += cost
        const appId = cost > 0 ? await appOf(orphan) : null
        const { createdAt } = orphan
        if (appId === null || createdAt === null || createdAt < startOfUtcMonth(now())) continue
        report.attributedCost += cost
        corrections.push({ appId, createdAt, amount: cost })
      }
    }
    await store.storeFindings({ findings: held, corrections, report })
    log.warn(report, 'the restored copy was compared with the list of upstream; the rest is held')
    return true
  }

  async function adopt(job: Job, { upstreamId, createdAt }: ListedJob): Promise<boolean> {
    if (!isPathSegment(upstreamId)) return false
    const at = now()
    const changed = await store.change(job.id, submitRecovered(upstreamId, createdAt ?? at, at), at)
    if (changed === null) return false
    log.info(
      { prediction: job.id, app: job.appId, upstreamId },
      'a job of the lost time was found in the list',
    )
    return true
  }

  async function filterUnowned(listed: readonly ListedJob[]): Promise<ListedJob[]> {
    const unowned: ListedJob[] = []
    for (const job of listed) if ((await store.findIdByUpstreamId(job.upstreamId)) === null) unowned.push(job)
    return unowned
  }

  /** The app whose image was sent; or the only app. */
  async function appOf({ input }: ListedJob) {
    const image = input?.image
    const owner = typeof image === 'string' ? await store.findAppByUpstreamImage(image) : null
    const apps = owner === null ? await store.listApps() : []
    return owner ?? (apps.length === 1 ? apps[0]!.id : null)
  }

  return createWorkerLoop<PendingReview>({
    name: 'restore review',
    async claim() {
      const pending = (await store.lostTimes()).filter(({ report }) => report === null)
      if (pending.length === 0) return []
      const lost = {
        from: Math.min(...pending.map(({ from }) => from)),
        to: Math.max(...pending.map(({ to }) => to)),
      }
      if (!hasLoggedStart)
        log.warn(
          { from: new Date(lost.from).toISOString(), to: new Date(lost.to).toISOString() },
          'the database was replaced by an earlier copy: all submits are held, access tokens have ended; run "npm run app -- restored"',
        )
      hasLoggedStart = true
      const isDue = now() >= Math.max(retryAt, searchWindow(lost.to, submitTimeoutMs).to)
      return isDue ? [lost] : []
    },
    async perform(lost, signal) {
      if (await review(lost, signal)) return
      retryAt = now() + RETRY_MS
      if (!signal.aborted)
        log.warn({}, 'the list of upstream could not be read; the restored copy is compared later')
    },
    capacity: 1,
    intervalMs: INTERVAL_MS,
    log,
  })
}

const startOf = (job: Job): number => job.submitStartedAt ?? job.createdAt

/**
 * An upload may have another URL at upstream than the copy knows: then the image says nothing. A list without the image
 * or the prompt says nothing either.
 */
function compareInput(listed: ListedJob['input'], job: Job): InputComparison {
  if (listed === null) return 'unclear'
  const input = upstreamInput(job)
  const isSameImage = listed.image === input.imageUrl
  const { image: _, ...withoutImage } = listed
  if (!matchesInput(job.uploadId === null ? listed : withoutImage, input)) return 'different'
  return isSameImage && listed.prompt === input.prompt ? 'same' : 'unclear'
}
