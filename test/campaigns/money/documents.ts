/**
 * The operations that the apps send.
 */
export const SUBMIT = `mutation ($input: SubmitVideoInput!) {
  answer: submitVideo(input: $input) {
    __typename
    ... on SubmitVideoPayload { prediction { id } }
    ... on Error { code message }
  }
}`

export const CANCEL = `mutation ($input: CancelPredictionInput!) {
  answer: cancelPrediction(input: $input) {
    __typename
    ... on CancelPredictionPayload { prediction { id status } mayStillBeCharged }
    ... on AlreadyFinishedError { prediction { id status } }
    ... on Error { code message }
  }
}`

export const RETRY = `mutation ($input: RetryPredictionInput!) {
  answer: retryPrediction(input: $input) {
    __typename
    ... on RetryPredictionPayload { prediction { id } }
    ... on Error { code message }
  }
}`

export const ENDED_PREDICTIONS = `{
  predictions(first: 50, filter: { statuses: [FAILED, CANCELED] }) { edges { node { id input { prompt } } } }
}`

export const USAGE = '{ viewer { usage { inFlight queued } } }'
