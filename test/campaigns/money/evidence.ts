/**
 * The evidence for the oracle: the gateway's rows, the upstream jobs, the answers to the apps, faults and kills.
 */
export interface Evidence {
  rows: readonly PredictionRow[]
  jobs: readonly UpstreamJob[]
  requests: readonly AppRequest[]
  cancels: readonly CancelRecord[]
  posts: readonly SubmitPost[]
  /** Upstream jobs whose webhook the gateway accepted. */
  webhookAcceptedJobs: ReadonlySet<string>
  /** Predictions whose POST exceeded the gateway's time-out because the machine was busy. */
  timedOutSubmits: ReadonlySet<string>
  /** Times of the kills, ms since 1970. */
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
  /** Start of its last POST. */
  submitStartedAt: number | null
}

/** A job in the upstream ledger: accepted and charged. */
export interface UpstreamJob {
  id: string
  marker: string
  /** Its final status, as upstream spells it. */
  end: string
  code: number | null
  hasOutput: boolean
}

/** A request under one idempotency key, and its answers. */
export interface AppRequest {
  app: string
  key: string
  marker: string
  retryOf: string | null
  /** Prediction ids of all answers. Two ids are a breach. */
  ids: readonly string[]
}

/** A cancel by an app. */
export interface CancelRecord {
  app: string
  id: string
  /** The status in the answer. */
  status: string
  /** Null: rejected, since the prediction had finished. */
  mayStillBeCharged: boolean | null
}

/** A POST that reached upstream, and its fault. */
export interface SubmitPost {
  marker: string
  at: number
  kind: string | null
}
