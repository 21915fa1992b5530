/**
 * Content of GraphiQL's first tab: submit a video, and watch it.
 */

/** The host does not exist, so with a real account the prediction fails without cost. */
const UNREACHABLE_IMAGE = 'https://images.example/first-frame.jpg'
const REAL_ACCOUNT_HINT = `
# A real account: put an image of yours below.
# A video costs what { models } says.
`

export interface GraphiqlTab {
  query: string
  variables: { input: { image: { url: string }; [field: string]: unknown } }
}

/** @param sampleImage null with a real account */
export const createFirstTab = (sampleImage: string | null): GraphiqlTab => ({
  query: `# Play and choose Submit,
# then play and choose Watch.
${sampleImage === null ? REAL_ACCOUNT_HINT : ''}
mutation Submit($input: SubmitVideoInput!) {
  submitVideo(input: $input) {
    ... on SubmitVideoPayload {
      prediction {
        id
        status
        cost { amount currency }
      }
    }
    ... on InvalidInputError {
      issues { path message }
    }
    ... on Error { code message }
  }
}

# All since the page was opened, then live.
subscription Watch($after: String) {
  predictionFeed(after: $after) {
    __typename
    ... on PredictionEvent {
      cursor
      prediction {
        id
        status
        outputs { url }
        error { code message }
      }
    }
    ... on FeedCaughtUp { cursor }
    ... on FeedGap { reason cursor }
  }
}
`,
  variables: {
    // With the defaults too: GraphiQL underlines an input that lacks them.
    input: {
      model: 'WAN_2_2_I2V_PLUS_1080P',
      image: { url: sampleImage ?? UNREACHABLE_IMAGE },
      prompt: 'dusk over the hills, a slow pan to the left',
      duration: 5,
      enablePromptExpansion: false,
      seed: -1,
    },
  },
})
