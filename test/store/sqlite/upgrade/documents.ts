/**
 * GraphQL documents that make-fixtures.ts and fixtures.test.ts share.
 * Invariant: a document selects every field of its types, and every version has those fields. Versions before
 * 0004_uploads have no uploads.
 */

/** Fields of a prediction that an event has too. */
const STATE = `
  id model status tags metadata upstreamId createdAt submittedAt startedAt finishedAt updatedAt
  input { imageUrl prompt negativePrompt duration enablePromptExpansion seed }
  outputs { url hasNsfwContent expiresAt }
  error { code message retryable }
  cost { amount currency }
  timings { queueMs inferenceMs totalMs }
  retryOf { id status }`

export const PREDICTION_FIELDS = `${STATE}
  queuePosition
  history(first: 100) {
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
    edges {
      cursor
      node {
        cursor type previousStatus occurredAt
        prediction { id status updatedAt error { code } cost { amount } outputs { url } upstreamId }
      }
    }
  }`

export const LIST = `query ($first: Int, $after: String) {
  predictions(first: $first, after: $after) {
    edges { cursor node { ${PREDICTION_FIELDS} } }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
  }
}`

export const FEED = `subscription ($after: String) {
  predictionFeed(after: $after) {
    __typename
    ... on PredictionEvent { cursor type previousStatus occurredAt prediction { ${STATE} } }
    ... on FeedCaughtUp { cursor }
    ... on FeedGap { reason cursor }
  }
}`

export const VIEWER = `{
  viewer {
    id name
    limits { maxInFlight maxQueued submitsPerMinute monthlyBudget { amount currency } weight }
    usage { inFlight queued spentThisMonth { amount currency } }
  }
}`

export const UPLOAD_NODE = `query ($id: ID!) {
  node(id: $id) { __typename id ... on Upload { url contentType width height bytes expiresAt } }
}`
