/**
 * Every failure that an app can meet: its code, its message, whether a retry can help, and the remedy.
 * Invariant: an error outside these tables is a bug; it is masked as "Unexpected error." and logged once. No message
 * contains text from upstream.
 */

export interface Failure {
  message: string
  /** Whether the same request may succeed later, unchanged. */
  retryable: boolean
  remedy: string
}

/** Errors that a mutation returns. Each is a GraphQL type. */
export const MUTATION_ERRORS = {
  INVALID_INPUT: {
    message: 'The input is not valid.',
    retryable: false,
    remedy: 'Read `issues`: each has the path of a fault and what is wrong with it.',
  },
  IDEMPOTENCY_CONFLICT: {
    message: 'This idempotency key was used for another input within the last 24 hours.',
    retryable: false,
    remedy: 'Use a new key for a new request; `prediction` is the one the key belongs to.',
  },
  RATE_LIMITED: {
    message: 'Too many submits in this minute, or too many uploads kept.',
    retryable: true,
    remedy: 'Wait `retryAfterMs`.',
  },
  QUEUE_FULL: {
    message: 'This app has as many jobs waiting as it may have.',
    retryable: true,
    remedy: 'Submit again when some have finished.',
  },
  BUDGET_EXCEEDED: {
    message: "This would go over the app's budget for the month.",
    retryable: false,
    remedy: 'Compare `budget` and `spent`; ask whoever runs the gateway.',
  },
  NOT_FOUND: {
    message: 'Nothing was found for this id.',
    retryable: false,
    remedy: 'Check the id. An id of another app gets the same answer.',
  },
  FORBIDDEN: {
    message: 'This token does not permit that.',
    retryable: false,
    remedy: 'Mint a token with the permission it needs.',
  },
  ALREADY_FINISHED: {
    message: 'There is nothing left to cancel: it has ended.',
    retryable: false,
    remedy: '`prediction` says how.',
  },
} as const satisfies Record<string, Failure>
export type MutationErrorCode = keyof typeof MUTATION_ERRORS

/** Reasons for the status FAILED. */
export const PREDICTION_ERRORS = {
  CONTENT_REJECTED: {
    message: "The image or the prompt was refused by upstream's content moderation.",
    retryable: false,
    remedy: 'Change the image or the prompt.',
  },
  INVALID_INPUT: {
    message: 'Upstream refused the input, or the image file is not an image or is over 25 MB.',
    retryable: false,
    remedy: 'Change the input; nothing was charged.',
  },
  IMAGE_UNREACHABLE: {
    message: 'The image could not be fetched.',
    retryable: false,
    remedy: 'Give an http(s) URL that anyone on the internet can fetch; nothing was charged.',
  },
  GENERATION_FAILED: {
    message: 'The video could not be generated.',
    retryable: true,
    remedy: 'Submit again, perhaps with another seed; upstream refunds the failed run.',
  },
  NO_OUTPUT: {
    message: 'Upstream calls the job completed and has no video for it.',
    retryable: true,
    remedy: 'It may have been charged: look at the account before you submit again.',
  },
  TIMED_OUT: {
    message: 'The job took too long.',
    retryable: true,
    remedy: 'It may have been charged, and may still end: look at the account before you submit again.',
  },
  UPSTREAM_UNAVAILABLE: {
    message: 'Upstream failed while it worked on the job.',
    retryable: true,
    remedy: 'Submit again later; upstream refunds the failed run.',
  },
  SUBMISSION_UNKNOWN: {
    message: 'The job was sent and no answer came: it may be running, and it may have been charged.',
    retryable: false,
    remedy:
      'It is never sent again by itself, and still looked for for seven days. Look at the account, then decide: `retryPrediction` sends it anew.',
  },
} as const satisfies Record<string, Failure>
export type PredictionErrorCode = keyof typeof PREDICTION_ERRORS
export const PREDICTION_ERROR_CODES = Object.keys(PREDICTION_ERRORS) as [
  PredictionErrorCode,
  ...PredictionErrorCode[],
]

/** GraphQL request errors. The code is in `extensions.code`. */
export const REQUEST_ERRORS = {
  UNAUTHENTICATED: {
    message: 'A valid key is needed: Authorization: Bearer rsh_…',
    retryable: false,
    remedy: 'Send the key of an app, or a token; on a WebSocket in the payload of `connection_init`.',
  },
  FORBIDDEN: {
    message: 'This token does not permit reading.',
    retryable: false,
    remedy: 'Mint a token with the permission READ.',
  },
  NOT_FOUND: {
    message: 'Nothing was found for this id.',
    retryable: false,
    remedy: 'Check the id. An id of another app gets the same answer.',
  },
  BAD_ARGUMENT: {
    message: 'An argument is not valid.',
    retryable: false,
    remedy: 'The message names the argument and its limits.',
  },
  QUERY_TOO_COMPLEX: {
    message: 'The query is too complex.',
    retryable: false,
    remedy:
      'The message has the figure and its limit. Ask for less at once: a smaller `first`, fewer levels.',
  },
  RATE_LIMITED: {
    message: 'Too many requests within a minute.',
    retryable: true,
    remedy: 'Wait `extensions.retryAfterMs`; over HTTP `Retry-After` has the same in seconds.',
  },
  TOO_MANY_CONNECTIONS: {
    message: 'This app has as many connections as it may have.',
    retryable: true,
    remedy: 'Share one connection among subscriptions, or have `MAX_CONNECTIONS_PER_APP` raised.',
  },
  TOO_MANY_SUBSCRIPTIONS: {
    message: 'This connection has as many subscriptions as it may have.',
    retryable: true,
    remedy: 'Watch many predictions with one `predictionFeed`, or open another connection.',
  },
  TOO_MANY_OPERATIONS: {
    message: 'This connection began too many operations within a second.',
    retryable: true,
    remedy: 'Send it again a second later.',
  },
  STOPPING: {
    message: 'The gateway is stopping.',
    retryable: true,
    remedy: 'Come back in a moment: another one starts.',
  },
  DATABASE_UNAVAILABLE: {
    message: 'The gateway can not store anything at present.',
    retryable: true,
    remedy:
      'Send it again later, with the same `idempotencyKey`. `/health/ready` and the log have the cause.',
  },
  INTERNAL_SERVER_ERROR: {
    message: 'Unexpected error.',
    retryable: true,
    remedy: 'A fault of the gateway; its log has the cause.',
  },
} as const satisfies Record<string, Failure>
export type RequestErrorCode = keyof typeof REQUEST_ERRORS

/** The database can't be written at present, for a reason outside of this program. */
export class DatabaseUnavailable extends Error {
  override name = 'DatabaseUnavailable'
  /** Why, in a word. */
  readonly fault: string

  constructor(fault: string, message: string, cause?: unknown) {
    super(message, { cause })
    this.fault = fault
  }
}

/** Startup failed for a reason outside the code. The operator sees the message without a stack; the exit code is 1. */
export class StartupError extends Error {
  override name = 'StartupError'
}
