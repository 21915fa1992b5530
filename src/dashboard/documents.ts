/**
 * The dashboard's GraphQL documents, and the types of their results. A test validates them against schema.graphql.
 */
export const PREDICTION_STATUSES = [
  'QUEUED',
  'CREATED',
  'PROCESSING',
  'COMPLETED',
  'FAILED',
  'CANCELED',
] as const
export type PredictionStatus = (typeof PREDICTION_STATUSES)[number]

export interface PredictionCard {
  id: string
  model: string
  status: PredictionStatus
  input: {
    imageUrl: string
    prompt: string
    negativePrompt: string | null
    duration: number
    enablePromptExpansion: boolean
    seed: number
  }
  outputs: { url: string; hasNsfwContent: boolean | null; expiresAt: string | null }[]
  error: { code: string; message: string; retryable: boolean } | null
  cost: { amount: number }
  tags: string[]
  createdAt: string
  submittedAt: string | null
  finishedAt: string | null
  updatedAt: string
}

export interface Model {
  model: string
  name: string
  resolution: string
  durations: number[]
  cost: { amount: number }
  expectedSeconds: number | null
}

export interface Viewer {
  name: string
  limits: {
    maxInFlight: number | null
    maxQueued: number | null
    submitsPerMinute: number | null
    monthlyBudget: { amount: number } | null
    weight: number
  }
  usage: { inFlight: number; queued: number; spentThisMonth: { amount: number } }
}

/** The times of a prediction's status changes. */
export type PredictionTimes = Pick<
  PredictionCard,
  'id' | 'status' | 'createdAt' | 'submittedAt' | 'finishedAt' | 'updatedAt'
>

export interface Connection<Node> {
  edges: { node: Node }[]
  pageInfo: { hasNextPage: boolean; endCursor: string | null }
}

export interface CardFilter {
  statuses?: readonly PredictionStatus[]
  tags?: readonly string[]
  createdAfter?: string
  createdBefore?: string
}

interface FieldIssue {
  path: string[]
  message: string
}

export interface Overview {
  feedCursor: string
  viewer: Viewer
  models: Model[]
  predictions: Connection<PredictionCard>
}
export interface Figures extends Pick<Overview, 'viewer' | 'models'> {
  nodes: ({ id: string; queuePosition: number | null } | null)[]
}
export interface FeedResult {
  data?: { predictionFeed: { prediction?: PredictionCard; reason?: string } } | null
  errors?: { message: string }[]
}

/** Result of a mutation: its payload, or the fields of an error. */
export interface MutationResult {
  prediction?: PredictionCard
  mayStillBeCharged?: boolean
  upload?: { id: string }
  code?: string
  message?: string
  issues?: FieldIssue[]
  retryAfterMs?: number
  budget?: { amount: number }
  spent?: { amount: number }
}

const CARD_FRAGMENT = `fragment Card on Prediction {
  id model status createdAt submittedAt finishedAt updatedAt tags
  input { imageUrl prompt negativePrompt duration enablePromptExpansion seed }
  outputs { url hasNsfwContent expiresAt }
  error { code message retryable }
  cost { amount }
}`

const VIEWER_FIELDS = `viewer {
  name
  limits { maxInFlight maxQueued submitsPerMinute monthlyBudget { amount } weight }
  usage { inFlight queued spentThisMonth { amount } }
}`
const MODEL_FIELDS = 'models { model name resolution durations cost { amount } expectedSeconds }'
const CONNECTION_FIELDS = 'edges { node { ...Card } } pageInfo { hasNextPage endCursor }'

export const OVERVIEW = `query Overview($filter: PredictionFilter) {
  feedCursor
  ${VIEWER_FIELDS}
  ${MODEL_FIELDS}
  predictions(first: 24, filter: $filter) { ${CONNECTION_FIELDS} }
}
${CARD_FRAGMENT}`

export const OLDER = `query Older($filter: PredictionFilter) {
  predictions(first: 48, filter: $filter) { ${CONNECTION_FIELDS} }
}
${CARD_FRAGMENT}`

/** The values that no event carries. */
export const FIGURES = `query Figures($ids: [ID!]!) {
  ${VIEWER_FIELDS}
  ${MODEL_FIELDS}
  nodes(ids: $ids) { ... on Prediction { id queuePosition } }
}`

export const HISTORY = `query History($after: String, $filter: PredictionFilter) {
  predictions(first: 100, after: $after, filter: $filter) {
    edges { node { id status createdAt submittedAt finishedAt updatedAt } }
    pageInfo { hasNextPage endCursor }
  }
}`

export const FEED = `subscription Feed($after: String) {
  predictionFeed(after: $after) {
    __typename
    ... on PredictionEvent { cursor prediction { ...Card } }
    ... on FeedCaughtUp { cursor }
    ... on FeedGap { cursor reason }
  }
}
${CARD_FRAGMENT}`

const ERROR_FIELDS = `... on Error { code message }
    ... on InvalidInputError { issues { path message } }
    ... on RateLimitedError { retryAfterMs }`
const BUDGET_ERROR_FIELDS = '... on BudgetExceededError { budget { amount } spent { amount } }'

export const SUBMIT = `mutation Submit($input: SubmitVideoInput!) {
  answer: submitVideo(input: $input) {
    ... on SubmitVideoPayload { prediction { ...Card } }
    ${ERROR_FIELDS}
    ${BUDGET_ERROR_FIELDS}
  }
}
${CARD_FRAGMENT}`

export const UPLOAD = `mutation Upload($input: UploadImageInput!) {
  answer: uploadImage(input: $input) {
    ... on UploadImagePayload { upload { id } }
    ${ERROR_FIELDS}
  }
}`

export const CANCEL = `mutation Cancel($input: CancelPredictionInput!) {
  answer: cancelPrediction(input: $input) {
    ... on CancelPredictionPayload { mayStillBeCharged prediction { ...Card } }
    ... on Error { code message }
  }
}
${CARD_FRAGMENT}`

export const RETRY = `mutation Retry($input: RetryPredictionInput!) {
  answer: retryPrediction(input: $input) {
    ... on RetryPredictionPayload { prediction { ...Card } }
    ${ERROR_FIELDS}
    ${BUDGET_ERROR_FIELDS}
  }
}
${CARD_FRAGMENT}`
