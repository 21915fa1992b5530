/**
 * The model's vocabulary: the expected state of a prediction, workers in the middle of a job, how often each event
 * may occur, and the expected end for each upstream outcome.
 * Invariant: nothing here is read from the store.
 */

import type { Job, Observation, Status } from '../../../src/domain/prediction.ts'
import { COMPLETED, HOUR, MINUTE, PRICE, SECOND } from '../../support/store.ts'

export const LEASE_MS = MINUTE
export const DEADLINE_MS = HOUR
export const DAY_MS = 24 * HOUR
export const SUBMIT_TIMEOUT_MS = 10 * SECOND
export const IMAGE_FRESH_MS = 5 * MINUTE

/** A job in the upstream ledger. It is charged unless it failed. */
export interface UpstreamJob {
  id: string
  row: ModelRow
  submittedAt: number
  isProcessing: boolean
  outcome: Observation | null
  webhooksSent: number
}

/** The expected state of a prediction. */
export interface ModelRow {
  id: string
  name: string
  /** Claims for a POST, and refusals of a POST that the store recorded. */
  claims: number
  refusals: number
  postAnswers: string[]
  /** States in which the row was seen, in order. */
  observedStates: string[]
  /** Whether the row occupies one of the account's slots, according to what the store was given. */
  occupiesSlot: boolean
  canceled: null | 'free' | 'may still be charged'
  cancels: number
}

export type Step = readonly [name: string, run: () => Promise<void>]

/** A worker in the middle of a job, with its possible next steps. */
export interface PendingTask {
  name: string
  job: Job | null
  /** False: the worker's lease has expired, so another worker may claim its job. It may still write. */
  isAlive: boolean
  steps: Step[]
}

/** How often each event may occur. These bounds make the number of interleavings finite. */
export interface Bounds {
  cancels: number
  claims: number
  images: number
  polls: number
  searches: number
  webhooks: number
  disasters: number
}

export interface ModelOptions {
  rows: number
  concurrency: number | null
  bounds: Bounds
  from: number
  /** The possible upstream answers to a POST. */
  answers?: readonly SubmitAnswer[]
  ends?: readonly End[]
  disasters?: readonly Disaster[]
}

/** A crash, an expired lease, a long sleep, or the deadline passing. */
export const DISASTERS = ['SIGKILL', 'lease expired', 'a long sleep', 'past the deadline'] as const
export type Disaster = (typeof DISASTERS)[number]

export const REFUSED_ANSWERS = ['unsent', 'account', 'model', 'throttled'] as const
export type RefusedAnswer = (typeof REFUSED_ANSWERS)[number]
export type SubmitAnswer = 'accepted' | 'lost' | 'vanished' | 'rejected' | RefusedAnswer
export const SUBMIT_ANSWERS: readonly SubmitAnswer[] = [
  'accepted',
  'lost',
  'vanished',
  'rejected',
  ...REFUSED_ANSWERS,
]
export const isRefusedAnswer = (answer: string): answer is RefusedAnswer =>
  (REFUSED_ANSWERS as readonly string[]).includes(answer)

export const ENDS = {
  completed: COMPLETED,
  failed: { status: 'failed', error: 'GENERATION_FAILED', inferenceMs: 12 },
  'timed out': { status: 'failed', error: 'TIMED_OUT', inferenceMs: null },
  canceled: { status: 'canceled' },
  empty: { status: 'completed', outputs: [], inferenceMs: 7 },
} as const satisfies Record<string, Observation>
export type End = keyof typeof ENDS
export const END_NAMES = Object.keys(ENDS) as End[]

/** Expected status, error and cost of a prediction, by the end of its upstream job. */
export const EXPECTED_ENDS: Record<End, readonly [Status, Job['error'], number]> = {
  completed: ['COMPLETED', null, PRICE],
  failed: ['FAILED', 'GENERATION_FAILED', 0],
  'timed out': ['FAILED', 'TIMED_OUT', PRICE],
  canceled: ['CANCELED', null, PRICE],
  empty: ['FAILED', 'NO_OUTPUT', PRICE],
}

/** A row's state in one or two words. */
export const describeState = ({ status, error, cost }: Pick<Job, 'status' | 'error' | 'cost'>): string =>
  `${error ?? status}${cost === 0 ? ' free' : ''}`
