/**
 * All that a verdict rests on: what the gateway's rows say, what upstream's ledger says, what the apps were told, and what
 * befell whom.
 */
export interface Evidence {
  rows: readonly PredictionRow[]
  jobs: readonly UpstreamJob[]
  requests: readonly AppRequest[]
  cancels: readonly CancelRecord[]
  posts: readonly SubmitPost[]
  /** Jobs whose webhook the gateway has taken. */
  webhookAcceptedJobs: ReadonlySet<string>
  /** Predictions whose POST took longer than the gateway waits, for the machine was busy. */
  timedOutSubmits: ReadonlySet<string>
  /** When the gateway was killed. */
  killTimes: readonly number[]
}

/** A prediction, in the gateway's database. */
export interface PredictionRow {
  id: string
  app: string
  marker: string
  status: string
  error: string | null
  submission: string
  upstreamId: string | null
  outputs: readonly string[]
  retryOf: string | null
  /** When its last POST was about to be sent. */
  submitStartedAt: number | null
}

/** A job, in upstream's ledger: it was accepted, and charged. */
export interface UpstreamJob {
  id: string
  marker: string
  /** The status it ends with, as upstream spells it. */
  end: string
  code: number | null
  hasOutput: boolean
}

/** What an app was told of one request, under one idempotency key. */
export interface AppRequest {
  app: string
  key: string
  marker: string
  retryOf: string | null
  /** Every answer's prediction; more than one id is a breach. */
  ids: readonly string[]
}

/** A cancel that an app asked for. */
export interface CancelRecord {
  app: string
  id: string
  /** As the answer had it. */
  status: string
  /** Null: it was refused, for the prediction had finished. */
  mayStillBeCharged: boolean | null
}

/** A POST that reached upstream, and the fault it met there. */
export interface SubmitPost {
  marker: string
  at: number
  kind: string | null
}
