/**
 * Submits jobs, each with an idempotency key and until it is answered.
 * Invariant: one key has one input.
 */
import { json } from 'node:stream/consumers'
import type { SeededRandom } from '../../../src/simulator/seeded-random.ts'
import { post } from '../../support/post.ts'
import { sleep } from '../../support/sleep.ts'

const SUBMIT = `mutation ($input: SubmitVideoInput!) {
  submitVideo(input: $input) {
    __typename
    ... on SubmitVideoPayload { prediction { id } }
    ... on Error { code message }
  }
}`
/** Concurrent submit loops. An unanswered job blocks only its own loop. */
const CONCURRENT_SUBMITS = 8
const SUBMIT_INTERVAL_MS = [50, 700] as const
/** Share of submits that follow without a pause. */
const IMMEDIATE_CHANCE = 1 / 4
/** A request on a stalled connection is abandoned after this time and sent again. */
const ANSWER_TIMEOUT_MS = 1000
const SUBMIT_TIMEOUT_MS = 60_000
const OUTCOME_WORDS = ['', '', '', '', ' sim:fail=1200', ' sim:nsfw', ' sim:empty']

/** Runs until `signal` aborts. Returns the number of jobs sent, once all are answered. */
export async function submitJobs(
  url: string,
  key: string,
  imageUrl: string,
  random: SeededRandom,
  signal: AbortSignal,
) {
  async function submit(input: ReturnType<typeof drawInput>): Promise<void> {
    const deadline = Date.now() + SUBMIT_TIMEOUT_MS
    const body = { query: SUBMIT, variables: { input } }
    while (Date.now() < deadline) {
      try {
        const { response } = post(url, key, body, {}, AbortSignal.timeout(ANSWER_TIMEOUT_MS))
        const { data } = (await json(await response)) as SubmitResponse
        if (data?.submitVideo.__typename === 'SubmitVideoPayload') return
        if (data) throw new SubmitRejected(JSON.stringify(data.submitVideo))
      } catch (error) {
        if (error instanceof SubmitRejected) throw error
      }
      await sleep(random.between(50, 250))
    }
    throw new Error(`a job was not answered for ${SUBMIT_TIMEOUT_MS} ms: ${input.idempotencyKey}`)
  }

  let sentCount = 0
  const drawInput = () => ({
    image: { url: imageUrl },
    prompt: `a slow pan sim:seconds=0.${random.between(1, 6)}${random.pick(OUTCOME_WORDS)}`,
    idempotencyKey: `job ${sentCount++}`,
    tags: [random.pick(['red', 'green'])],
    metadata: { filler: 'x'.repeat(random.between(2000, 4000)) },
  })

  async function submitLoop(): Promise<void> {
    while (!signal.aborted) {
      await submit(drawInput())
      if (!random.chance(IMMEDIATE_CHANCE)) await sleep(random.between(...SUBMIT_INTERVAL_MS), signal)
    }
  }
  await Promise.all(Array.from({ length: CONCURRENT_SUBMITS }, submitLoop))
  return sentCount
}

interface SubmitResponse {
  data?: { submitVideo: { __typename: string } } | null
}

class SubmitRejected extends Error {}
