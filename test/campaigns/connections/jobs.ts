/**
 * What an app does meanwhile: jobs, each sent with an idempotency key until it is answered.
 * Invariant: one key, one input, however often it is sent.
 */
import { json } from 'node:stream/consumers'
import type { Random } from '../../../src/simulator/seeded-random.ts'
import { post } from '../../support/post.ts'
import { rest } from '../../support/rest.ts'

const SUBMIT = `mutation ($input: SubmitVideoInput!) {
  submitVideo(input: $input) {
    __typename
    ... on SubmitVideoPayload { prediction { id } }
    ... on Error { code message }
  }
}`
/** Each sends one job after the other: one that is not answered holds up no more than its line. */
const LINES = 8
const REST_MS = [50, 700] as const
/** How often the next follows without a rest. */
const AT_ONCE = 1 / 4
/** A request on a stalled link is given up and sent again. */
const ANSWER_MS = 1000
const PATIENCE_MS = 60_000
const FATE = ['', '', '', '', ' sim:fail=1200', ' sim:nsfw', ' sim:empty']

/** Goes on until `signal`; answers with how many jobs it has sent, once all are answered. */
export async function submitJobs(
  url: string,
  key: string,
  image: string,
  random: Random,
  signal: AbortSignal,
) {
  async function submit(input: ReturnType<typeof draw>): Promise<void> {
    const deadline = Date.now() + PATIENCE_MS
    const body = { query: SUBMIT, variables: { input } }
    while (Date.now() < deadline) {
      try {
        const { response } = post(url, key, body, {}, AbortSignal.timeout(ANSWER_MS))
        const { data } = (await json(await response)) as Answer
        if (data?.submitVideo.__typename === 'SubmitVideoPayload') return
        if (data) throw new Refused(JSON.stringify(data.submitVideo))
      } catch (error) {
        if (error instanceof Refused) throw error
      }
      await rest(random.between(50, 250))
    }
    throw new Error(`a job was not answered for ${PATIENCE_MS} ms: ${input.idempotencyKey}`)
  }

  let sent = 0
  const draw = () => ({
    image: { url: image },
    prompt: `a slow pan sim:seconds=0.${random.between(1, 6)}${random.pick(FATE)}`,
    idempotencyKey: `job ${sent++}`,
    tags: [random.pick(['red', 'green'])],
    metadata: { filler: 'x'.repeat(random.between(2000, 4000)) },
  })

  async function line(): Promise<void> {
    while (!signal.aborted) {
      await submit(draw())
      if (!random.chance(AT_ONCE)) await rest(random.between(...REST_MS), signal)
    }
  }
  await Promise.all(Array.from({ length: LINES }, line))
  return sent
}

interface Answer {
  data?: { submitVideo: { __typename: string } } | null
}

class Refused extends Error {}
