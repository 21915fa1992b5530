/**
 * The trips that matter, through a real gateway: a submit, an upload, an event to its subscribers, and a
 * restricted feed that resumes. Each is taken several times, and the shortest counts: the first fills caches, and the
 * cached keys expire each second.
 */
import { randomUUID } from 'node:crypto'
import { decodeIdOf } from '../../../src/graphql/global-id.ts'
import { type Harness, startGateway, submit, TRANSPORTS, type Transport, take } from '../gateway.ts'
import { mintToken, REJECT_SUBMITS } from '../token.ts'
import { until } from '../until.ts'
import { multipartForm, png, sendForm, uploadParts } from '../upload.ts'
import { patchBoundaries } from './boundaries.ts'
import { filesIn, returnsIn } from './count.ts'
import { isIdleFor, recordTrip, runAsWriter, type Trip } from './recorder.ts'

const RUNS = 5
const IDLE_MS = 20

const SUBMIT = `mutation ($input: SubmitVideoInput!) {
  submitVideo(input: $input) { __typename ... on SubmitVideoPayload { prediction { id status } } }
}`
const FEED = `subscription {
  predictionFeed {
    __typename
    ... on PredictionEvent { cursor type previousStatus prediction { status outputs { url } } }
  }
}`
const RESUMED_FEED = `subscription ($after: String, $filter: PredictionFilter) {
  predictionFeed(after: $after, filter: $filter) {
    __typename
    ... on PredictionEvent { cursor type previousStatus prediction { id status outputs { url } } }
    ... on FeedCaughtUp { cursor }
  }
}`

const portOf = ({ gateway }: Harness) => Number(new URL(gateway.url).port)
const untilIdle = () => until(() => isIdleFor(IDLE_MS))

/** From the request to the write of its response. */
async function tripOfSubmit(harness: Harness): Promise<Trip> {
  const trip = recordTrip('request', portOf(harness), '"__typename":"SubmitVideoPayload"')
  const input = { image: { url: 'https://images.example/cat.png' }, prompt: 'a slow pan' }
  await harness.query(SUBMIT, { input })
  return trip
}

/** From the request to the write of its response. */
async function tripOfUpload(harness: Harness): Promise<Trip> {
  const trip = recordTrip('request', portOf(harness), '"__typename":"UploadImagePayload"')
  await (await sendForm(harness, multipartForm(uploadParts(png())))).text()
  return trip
}

/** From the commit of a change to the write of its event, to a subscriber that is live. */
async function tripOfEvent(harness: Harness, transport: Transport): Promise<Trip> {
  const feed = harness.subscribe(transport, FEED)
  await take(feed, 1)
  const id = await submit(harness)
  await take(feed, 1)
  await untilIdle()
  const trip = recordTrip('commit', portOf(harness), '"__typename":"PredictionEvent"')
  const { store } = harness.gateway
  await runAsWriter(() =>
    store.change(
      decodeIdOf('Prediction', id),
      () => ({ status: 'CANCELED', finishedAt: Date.now() }),
      Date.now(),
    ),
  )
  await take(feed, 1)
  await feed.return?.()
  return trip
}

/**
 * From the TCP connection to the write of FeedCaughtUp: the upgrade, `connection_init` with a new token, the
 * subscription, and two events that were not executed before.
 */
async function tripOfResumedFeed(harness: Harness): Promise<Trip> {
  const { data } = await harness.query('{ feedCursor }')
  const tags = [randomUUID()]
  const token = await mintToken(harness, { tags })
  for (const prompt of ['a cat', 'a dog']) await submit(harness, prompt, undefined, { tags })
  await untilIdle()
  const trip = recordTrip('connection', portOf(harness), '"__typename":"FeedCaughtUp"')
  const feed = harness.subscribe(
    'WebSocket',
    RESUMED_FEED,
    { after: data.feedCursor, filter: { tags } },
    token,
  )
  await take(feed, 3)
  await feed.return?.()
  return trip
}

async function shortest(takeTrip: () => Promise<Trip>): Promise<Trip> {
  const trips: Trip[] = []
  while (trips.length < RUNS) trips.push(await takeTrip())
  const [first] = trips.sort((a, b) => filesIn(a) - filesIn(b) || returnsIn(a) - returnsIn(b))
  return first!
}

export async function measureTrips(): Promise<Record<string, Trip>> {
  patchBoundaries()
  await using harness = await startGateway({ overrides: REJECT_SUBMITS })
  const trips: Record<string, Trip> = {
    submit: await shortest(() => tripOfSubmit(harness)),
    upload: await shortest(() => tripOfUpload(harness)),
    'resumed feed': await shortest(() => tripOfResumedFeed(harness)),
  }
  for (const transport of TRANSPORTS)
    trips[`event over ${transport}`] = await shortest(() => tripOfEvent(harness, transport))
  return trips
}
