/**
 * The oracle: every accepted job ended in a true state, and no job was charged twice. Pure.
 * Invariant: only the upstream ledger is trusted. The gateway's rows are claims.
 */
import type { Evidence, PredictionRow, UpstreamJob } from './evidence.ts'
import { expectedOutcome } from './expected-outcome.ts'
import { hasKnownCause } from './unknown-submits.ts'

/** All breaches. Each begins with its name. */
export const findBreaches = (evidence: Evidence): string[] => RULES.flatMap(rule => rule(evidence))

const describe = ({ id, app, marker, status, error }: PredictionRow) =>
  `${marker} (${id} of ${app}, ${[status, error].filter(word => word !== null).join(' ')})`

/** Every answer to a request names the same stored row. */
const checkRequestsStored = ({ requests, rows }: Evidence): string[] =>
  requests.flatMap(({ app, key, marker, retryOf, ids }) => {
    if (ids.length > 1) return [`TWO ANSWERS to ${key} of ${app}: ${ids.join(', ')}`]
    if (ids.length === 0 && retryOf === null) return [`NO ANSWER to ${key} of ${app}`]
    return ids
      .filter(
        id =>
          !rows.some(
            row => row.id === id && row.app === app && row.marker === marker && row.retryOf === retryOf,
          ),
      )
      .map(id => `LOST: ${marker}, promised to ${app} as ${id}`)
  })

const checkRowsRequested = ({ requests, rows }: Evidence): string[] => {
  const requestedIds = new Set(requests.flatMap(({ ids }) => ids))
  return rows
    .filter(({ id }) => !requestedIds.has(id))
    .map(row => `NOT REQUESTED: ${describe(row)} was not requested by any app`)
}

const checkAllEnded = ({ rows }: Evidence): string[] =>
  rows
    .filter(
      ({ status, submission }) =>
        !['COMPLETED', 'FAILED', 'CANCELED'].includes(status) || submission === 'begun',
    )
    .map(row => `UNFINISHED: ${describe(row)}, its POST ${row.submission}`)

/**
 * An upstream job that no row names belongs to a row that cannot know of it. Such a row has at most one job.
 */
const checkChargedOnce = (evidence: Evidence): string[] => {
  const { rows, jobs } = evidence
  const namedJobIds = new Set(rows.map(({ upstreamId }) => upstreamId))
  return [...Map.groupBy(jobs, ({ marker }) => marker)].flatMap(([marker, markerJobs]) => {
    const markerRows = rows.filter(row => row.marker === marker)
    const unnamedCount = markerJobs.filter(({ id }) => !namedJobIds.has(id)).length
    const allowedUnnamed = markerRows.filter(row => mayHaveUnnamedJob(row, evidence)).length
    if (markerJobs.length > markerRows.length)
      return [`CHARGED TWICE: ${markerJobs.length} jobs for ${markerRows.map(describe).join(', ')}`]
    return unnamedCount > allowedUnnamed
      ? [`CHARGED UNREPORTED: ${unnamedCount} unnamed jobs for ${markerRows.map(describe).join(', ')}`]
      : []
  })
}

const wasCanceledUnsent = ({ id }: PredictionRow, { cancels }: Evidence): boolean =>
  cancels.some(cancel => cancel.id === id && cancel.mayStillBeCharged === false)

const mayHaveUnnamedJob = (row: PredictionRow, evidence: Evidence): boolean =>
  row.upstreamId === null &&
  (row.error === 'SUBMISSION_UNKNOWN' || (row.status === 'CANCELED' && !wasCanceledUnsent(row, evidence)))

const checkCanceledUnsent = (evidence: Evidence): string[] =>
  evidence.rows
    .filter(row => row.upstreamId !== null && wasCanceledUnsent(row, evidence))
    .map(
      row =>
        `SENT AFTER CANCEL: ${describe(row)} has an upstream job, but its app was answered that it can't be charged`,
    )

/** A webhook carries its row's token, so an accepted webhook identifies the row. */
const checkWebhooksApplied = ({ rows, jobs, webhookAcceptedJobs }: Evidence): string[] => {
  const namedJobIds = new Set(rows.map(({ upstreamId }) => upstreamId))
  return jobs
    .filter(({ id }) => webhookAcceptedJobs.has(id) && !namedJobIds.has(id))
    .map(
      ({ id, marker }) =>
        `WEBHOOK LOST: the webhook of ${id}, a job of ${marker}, was accepted, but no row names the job`,
    )
}

/** A row names only its own upstream job, and no two rows name one job. */
const checkNamedJobs = ({ rows, jobs }: Evidence): string[] => {
  const byId = new Map(jobs.map(job => [job.id, job]))
  const rowsByUpstreamId = Map.groupBy(rows, ({ upstreamId }) => upstreamId)
  return rows
    .filter(({ upstreamId }) => upstreamId !== null)
    .flatMap(row => {
      const job = byId.get(row.upstreamId!)
      if (job === undefined) return [`NO SUCH JOB: ${describe(row)} names ${row.upstreamId}`]
      if (job.marker !== row.marker) return [`WRONG VIDEO: ${describe(row)} names the job of ${job.marker}`]
      const isShared = rowsByUpstreamId.get(row.upstreamId)!.length > 1
      return isShared ? [`SHARED: ${describe(row)} names ${row.upstreamId}, and so does another`] : []
    })
}

const checkOutcomes = ({ rows, jobs, cancels }: Evidence): string[] => {
  const byId = new Map(jobs.map(job => [job.id, job]))
  const answeredStatuses = new Map(cancels.map(({ id, status }) => [id, status]))
  return rows.flatMap(row => {
    const answeredStatus = answeredStatuses.get(row.id)
    const isFinalAnswer = answeredStatus === 'CANCELED' || answeredStatus === 'COMPLETED'
    if (isFinalAnswer && row.status !== answeredStatus)
      return [`REVERTED: ${describe(row)}, but its app was answered ${answeredStatus}`]
    const job = row.upstreamId === null ? undefined : byId.get(row.upstreamId)
    return answeredStatus === 'CANCELED' || matchesUpstream(row, job)
      ? []
      : [
          `WRONG OUTCOME: ${describe(row)}; the upstream ledger says ${job ? expectedOutcome(job) : 'nothing of it'}`,
        ]
  })
}

function matchesUpstream(row: PredictionRow, job: UpstreamJob | undefined): boolean {
  const outcome = [row.status, row.error].filter(word => word !== null).join(' ')
  if (job === undefined) return row.upstreamId === null && outcome === 'FAILED SUBMISSION_UNKNOWN'
  const outputs = row.outputs.map(url => url.split('/').at(-1)).join()
  return outcome === expectedOutcome(job) && outputs === (row.status === 'COMPLETED' ? `${job.id}.mp4` : '')
}

const checkUnknownsHaveCause = (evidence: Evidence): string[] =>
  evidence.rows
    .filter(row => row.error === 'SUBMISSION_UNKNOWN' && !hasKnownCause(row, evidence))
    .map(row => `UNKNOWN WITHOUT CAUSE: ${describe(row)}`)

const RULES = [
  checkRequestsStored,
  checkRowsRequested,
  checkAllEnded,
  checkChargedOnce,
  checkCanceledUnsent,
  checkWebhooksApplied,
  checkNamedJobs,
  checkOutcomes,
  checkUnknownsHaveCause,
]
