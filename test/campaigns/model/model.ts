/**
 * The words in which the races of a cancel are told: what is true of a prediction, who is in the middle of it, how often each
 * thing may happen, and how what upstream says must end.
 * Invariant: nothing here is taken from what the store says.
 */

import type { Job, Observation, Status } from '../../../src/domain/prediction.ts'
import { COMPLETED, HOUR, MINUTE, PRICE, SECOND } from '../../support/store.ts'

export const LEASE_MS = MINUTE
export const DEADLINE_MS = HOUR
export const DAY_MS = 24 * HOUR
export const SUBMIT_TIMEOUT_MS = 10 * SECOND
export const IMAGE_FRESH_MS = 5 * MINUTE

/** A job as upstream has it: paid for, unless it failed. */
export interface UpstreamJob {
  id: string
  row: ModelRow
  submittedAt: number
  isProcessing: boolean
  outcome: Observation | null
  webhooksSent: number
}

/** What is true of a prediction, whatever the store says. */
export interface ModelRow {
  id: string
  name: string
  /** Claimed for a POST, and answered with a refusal that the store took. */
  claims: number
  refusals: number
  postAnswers: string[]
  /** How it was seen to stand, one after the other. */
  observedStates: string[]
  /** Whether it takes one of the account's places, by what the store has been told. */
  occupiesSlot: boolean
  canceled: null | 'free' | 'may still be charged'
  cancels: number
}

export type Step = readonly [name: string, run: () => Promise<void>]

/** Somebody in the middle of a job, and how it may go on. */
export interface PendingTask {
  name: string
  job: Job | null
  /** False: its process was taken for dead. It may still write. */
  isAlive: boolean
  steps: Step[]
}

/** How often each of these may happen: what makes every interleaving a finite number of them. */
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
  /** What upstream may answer a POST with; the worst first. */
  answers?: readonly SubmitAnswer[]
  ends?: readonly End[]
  disasters?: readonly Disaster[]
}

/** Whoever was in the middle of something is gone, or goes on although its rows are another's by now, or is late. */
export const DISASTERS = ['SIGKILL', 'taken for dead', 'a long sleep', 'past the deadline'] as const
export type Disaster = (typeof DISASTERS)[number]

export const REFUSED_ANSWERS = ['unsent', 'account', 'throttled'] as const
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

/** How a prediction must end whose job ended so, and what it costs then. */
export const EXPECTED_ENDS: Record<End, readonly [Status, Job['error'], number]> = {
  completed: ['COMPLETED', null, PRICE],
  failed: ['FAILED', 'GENERATION_FAILED', 0],
  'timed out': ['FAILED', 'TIMED_OUT', PRICE],
  canceled: ['CANCELED', null, PRICE],
  empty: ['FAILED', 'NO_OUTPUT', PRICE],
}

/** How a row stands, in a word or two. */
export const describeState = ({ status, error, cost }: Pick<Job, 'status' | 'error' | 'cost'>): string =>
  `${error ?? status}${cost === 0 ? ' free' : ''}`
