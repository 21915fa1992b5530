/**
 * Whether every job that was accepted from an app ended in a state that is true, and none was charged twice. Pure.
 * Invariant: it believes upstream's ledger alone; of the gateway it takes the rows as what it claims.
 */
import type { Case, LedgerJob, Row } from './case.ts'
import { foretold } from './oracle.ts'
import { hadCause } from './unknown.ts'

/** Every breach, in words that begin with its name. */
export const verdict = (case_: Case): string[] => RULES.flatMap(rule => rule(case_))

const say = ({ id, app, marker, status, error }: Row) =>
  `${marker} (${id} of ${app}, ${[status, error].filter(word => word !== null).join(' ')})`

/** What an app was promised is a row of its own, the same one at every answer. */
const kept = ({ promises, rows }: Case): string[] =>
  promises.flatMap(({ app, key, marker, retryOf, ids }) => {
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

const asked = ({ promises, rows }: Case): string[] => {
  const promised = new Set(promises.flatMap(({ ids }) => ids))
  return rows.filter(({ id }) => !promised.has(id)).map(row => `NOBODY'S: ${say(row)} was promised to no app`)
}

const ended = ({ rows }: Case): string[] =>
  rows
    .filter(
      ({ status, submission }) =>
        !['COMPLETED', 'FAILED', 'CANCELED'].includes(status) || submission === 'begun',
    )
    .map(row => `UNFINISHED: ${say(row)}, its POST ${row.submission}`)

/** A job that no row names is some row's that can't know of it; each such row can have but one. */
const chargedOnce = (case_: Case): string[] => {
  const { rows, jobs } = case_
  const named = new Set(rows.map(({ upstreamId }) => upstreamId))
  return [...Map.groupBy(jobs, ({ marker }) => marker)].flatMap(([marker, made]) => {
    const own = rows.filter(row => row.marker === marker)
    const strays = made.filter(({ id }) => !named.has(id)).length
    const may = own.filter(row => mayHaveStray(row, case_)).length
    if (made.length > own.length) return [`CHARGED TWICE: ${made.length} jobs for ${own.map(say).join(', ')}`]
    return strays > may ? [`CHARGED UNTOLD: ${strays} unnamed jobs for ${own.map(say).join(', ')}`] : []
  })
}

const wasUnsent = ({ id }: Row, { cancels }: Case): boolean =>
  cancels.some(cancel => cancel.id === id && cancel.mayStillBeCharged === false)

const mayHaveStray = (row: Row, case_: Case): boolean =>
  row.upstreamId === null &&
  (row.error === 'SUBMISSION_UNKNOWN' || (row.status === 'CANCELED' && !wasUnsent(row, case_)))

const unsent = (case_: Case): string[] =>
  case_.rows
    .filter(row => row.upstreamId !== null && wasUnsent(row, case_))
    .map(row => `SENT: ${say(row)} has a job, and its app was told that it can't be charged`)

/** A webhook carries its row's own token: whoever has taken it knows whose job it is. */
const heard = ({ rows, jobs, heard }: Case): string[] => {
  const named = new Set(rows.map(({ upstreamId }) => upstreamId))
  return jobs
    .filter(({ id }) => heard.has(id) && !named.has(id))
    .map(({ id, marker }) => `DEAF: the webhook of ${id}, a job of ${marker}, was taken, and no row names it`)
}

/** A row that names a job names its own, and no other row does. */
const own = ({ rows, jobs }: Case): string[] => {
  const byId = new Map(jobs.map(job => [job.id, job]))
  const holders = Map.groupBy(rows, ({ upstreamId }) => upstreamId)
  return rows
    .filter(({ upstreamId }) => upstreamId !== null)
    .flatMap(row => {
      const job = byId.get(row.upstreamId!)
      if (job === undefined) return [`NO SUCH JOB: ${say(row)} names ${row.upstreamId}`]
      if (job.marker !== row.marker) return [`ANOTHER'S VIDEO: ${say(row)} names the job of ${job.marker}`]
      const isShared = holders.get(row.upstreamId)!.length > 1
      return isShared ? [`SHARED: ${say(row)} names ${row.upstreamId}, and so does another`] : []
    })
}

const told = ({ rows, jobs, cancels }: Case): string[] => {
  const byId = new Map(jobs.map(job => [job.id, job]))
  const statuses = new Map(cancels.map(({ id, status }) => [id, status]))
  return rows.flatMap(row => {
    const before = statuses.get(row.id)
    const isFirm = before === 'CANCELED' || before === 'COMPLETED'
    if (isFirm && row.status !== before) return [`TAKEN BACK: ${say(row)}, and its app was told ${before}`]
    const job = row.upstreamId === null ? undefined : byId.get(row.upstreamId)
    return before === 'CANCELED' || isTrue(row, job)
      ? []
      : [`UNTRUE: ${say(row)}; upstream's ledger says ${job ? foretold(job) : 'nothing of it'}`]
  })
}

function isTrue(row: Row, job: LedgerJob | undefined): boolean {
  const standing = [row.status, row.error].filter(word => word !== null).join(' ')
  if (job === undefined) return row.upstreamId === null && standing === 'FAILED SUBMISSION_UNKNOWN'
  const outputs = row.outputs.map(url => url.split('/').at(-1)).join()
  return standing === foretold(job) && outputs === (row.status === 'COMPLETED' ? `${job.id}.mp4` : '')
}

const unknownForCause = (case_: Case): string[] =>
  case_.rows
    .filter(row => row.error === 'SUBMISSION_UNKNOWN' && !hadCause(row, case_))
    .map(row => `UNKNOWN WITHOUT CAUSE: ${say(row)}`)

const RULES = [kept, asked, ended, chargedOnce, unsent, heard, own, told, unknownForCause]
