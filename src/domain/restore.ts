/**
 * Rules for a database that was replaced by an earlier copy of itself. All functions are pure.
 * Jobs that waited in the copy may have been submitted since, and jobs of rows that the copy does not have may run. So in
 * the lost time a job of upstream that no row has proves nothing by its time alone.
 * Invariant: a job of upstream is given to a row only if its listed input is the row's, and neither another such job nor
 * another such row is left.
 */
import type { PredictionErrorCode } from './errors.ts'
import type { HoldReason } from './hold.ts'
import type { AppId, Job } from './prediction.ts'

/**
 * The time from the last commit in a copy until the start that noticed the copy. The database knows nothing of what happened
 * in it.
 */
export interface LostTime {
  from: number
  to: number
  /** Whether the operator has said which keys of the copy stay valid. */
  areKeysDecided: boolean
  /** Null until upstream's list was compared. */
  report: RestoreReport | null
}

export interface RestoreReport {
  /** Rows that got their job of upstream. */
  adopted: number
  /** Rows of which upstream's list has no job. */
  absent: number
  /** Rows of which a job of the list may be. */
  unsure: number
  /** Jobs of upstream that belong to no row, and their cost, micro-USD. */
  orphans: number
  orphanCost: number
  /** The part of the cost that was added to the spending of the app whose image was sent. */
  attributedCost: number
  /** Upstream's list does not reach back to the copy. */
  isIncomplete: boolean
}

/** A row whose job upstream may have. */
export interface RestoredRow {
  job: Job
  /** No job of the row was created before this time. */
  earliestAt: number
}

/** A job in upstream's list that no row has. */
export interface UnownedJob {
  upstreamId: string
  createdAt: number | null
  input: Record<string, unknown> | null
}

export type RestoreFinding<Listed> =
  | { kind: 'adopt'; listed: Listed }
  | { kind: Extract<HoldReason, 'restored-absent' | 'restored-unsure'> }

/** How a listed input compares with that of a row. `unclear`: nothing differs, but not all is listed. */
export type InputComparison = 'same' | 'unclear' | 'different'

/**
 * Compares the rows of one model with its unowned jobs. Returns a finding for each row, and the jobs that no row may have.
 */
export function compareWithList<Listed extends UnownedJob>(
  rows: readonly RestoredRow[],
  unowned: readonly Listed[],
  compareInput: (input: UnownedJob['input'], job: Job) => InputComparison,
): { findings: RestoreFinding<Listed>[]; orphans: Listed[] } {
  const isCandidate = ({ job, earliestAt }: RestoredRow, listed: UnownedJob) =>
    (listed.createdAt === null || listed.createdAt >= earliestAt) &&
    compareInput(listed.input, job) !== 'different'
  const findings = rows.map((row): RestoreFinding<Listed> => {
    const candidates = unowned.filter(listed => isCandidate(row, listed))
    const [listed] = candidates
    if (listed === undefined) return { kind: 'restored-absent' }
    const isCertain =
      candidates.length === 1 &&
      listed.createdAt !== null &&
      compareInput(listed.input, row.job) === 'same' &&
      rows.every(other => other === row || !isCandidate(other, listed))
    return isCertain ? { kind: 'adopt', listed } : { kind: 'restored-unsure' }
  })
  const orphans = unowned.filter(listed => !rows.some(row => isCandidate(row, listed)))
  return { findings, orphans }
}

/** Whether jobs of rows that were forgotten may be in a search window. */
export const touchesLostTime = (
  lostTimes: readonly Pick<LostTime, 'from' | 'to'>[],
  window: { from: number; to: number },
): boolean => lostTimes.some(({ from, to }) => window.from <= to && window.to >= from)

/** The cost of an upstream job that no row has. It is added to the app's spending of the month in which the job was created. */
export interface SpendCorrection {
  appId: AppId
  createdAt: number
  amount: number
}

/** Upstream refunds a failed job, but may charge one that it timed out. */
export const isRefunded = (error: PredictionErrorCode | null): boolean =>
  error !== null && error !== 'TIMED_OUT'
