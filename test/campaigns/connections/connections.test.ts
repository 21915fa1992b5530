import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { json } from 'node:stream/consumers'
import { expect, test } from 'vitest'
import { createSeededRandom, newSeed } from '../../../src/simulator/seeded-random.ts'
import { until } from '../../support/until.ts'
import { findMismatch } from './compare-history.ts'
import { runConnectionsCampaign } from './connections-campaign.ts'
import { createDeliveryHistory, type DeliveredEvent } from './delivery-history.ts'
import { SHORT } from './plan.ts'
import { connectOverSse } from './sse-feed-client.ts'

/** `npm run chaos -- --short --seed N` repeats a failed run. */
test('with connections cut, truncated, stalled and killed at random every client receives the whole event log, in order, once', async () => {
  console.log(await runConnectionsCampaign(SHORT, newSeed()))
}, 180_000)

const LOG = ['a', 'b', 'c'].flatMap(id => ['QUEUED', 'COMPLETED'].map(status => ({ id, status })))
const receivedEvents = (...indices: number[]): DeliveredEvent[] =>
  indices.map(i => ({ ...LOG[i]!, cursor: `${i}` }))
const ALL_EVENTS = [0, 1, 2, 3, 4, 5]

test('the oracle accepts the whole event log, in order, once', () => {
  expect(findMismatch('me', receivedEvents(...ALL_EVENTS), LOG)).toBeNull()
})

test.each([
  ['a missing event', receivedEvents(0, 2, 3, 4, 5), /^me, at event 2 of 6: MISSING; .*COMPLETED of a$/],
  ['a missing last event', receivedEvents(0, 1, 2, 3, 4), /at event 6 of 6: MISSING; delivered nothing/],
  ['an event delivered twice', receivedEvents(0, 1, 1, 2, 3, 4, 5), /at event 3 of 6: DUPLICATE/],
  ['a replay that begins too early', receivedEvents(0, 1, 2, 1, 2, 3, 4, 5), /at event 4 of 6: DUPLICATE/],
  [
    'one event too many at the end',
    receivedEvents(...ALL_EVENTS, 5),
    /at event 7 of 6: DUPLICATE; .*the event log has nothing/,
  ],
  ['two events in the wrong order', receivedEvents(0, 2, 1, 3, 4, 5), /at event 2 of 6: OUT OF ORDER/],
  [
    "another app's event",
    [...receivedEvents(0, 1), { id: 'x', status: 'QUEUED', cursor: 'x' }],
    /event 3 .*FOREIGN/,
  ],
  [
    'one cursor for two events',
    receivedEvents(...ALL_EVENTS).map(event => ({ ...event, cursor: '0' })),
    /event 2 .*CURSOR/,
  ],
])('the oracle finds %s', (_, sequence, breach) => {
  expect(findMismatch('me', sequence, LOG)).toMatch(breach)
})

test.each([
  [
    'a gap',
    { data: { predictionFeed: { __typename: 'FeedGap', cursor: 'c', reason: 'WHY' } } },
    /FeedGap, WHY/,
  ],
  ['an error', { data: null, errors: [{ message: 'no' }] }, /no/],
])('%s is a breach at any time', (_, result, breach) => {
  const history = createDeliveryHistory('me')
  history.record(result)
  expect(history.breach).toMatch(breach)
})

test('an SSE client resumes with `after`, and after its first event id with Last-Event-ID and the original body', async () => {
  const requests: { after: unknown; id: unknown }[] = []
  const server = createServer(async (request, response) => {
    const { variables } = (await json(request)) as { variables: { after: unknown } }
    const requestNumber = requests.push({ after: variables.after, id: request.headers['last-event-id'] })
    const item = { data: { predictionFeed: { __typename: 'FeedCaughtUp', cursor: `c${requestNumber}` } } }
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.write(
      `${requestNumber < 3 ? '' : `id: c${requestNumber}\n`}event: next\ndata: ${JSON.stringify(item)}\n\n`,
    )
    response.write('id: torn\nevent: next\ndata: {"da', () => request.socket.destroy())
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const client = connectOverSse({
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    key: 'k',
    document: '',
    variables: { after: 'c0', filter: {} },
    history: createDeliveryHistory('me'),
    random: createSeededRandom(1),
  })
  await until(() => requests.length >= 5)
  await client.close()
  server.close()
  expect(requests.slice(0, 5)).toEqual([
    { after: 'c0', id: undefined },
    { after: 'c1', id: undefined },
    { after: 'c2', id: undefined },
    { after: 'c0', id: 'c3' },
    { after: 'c0', id: 'c4' },
  ])
})

test('a seed draws the same again, and draws from a fork do not shift the others', () => {
  const draw = (forked: number) => {
    const random = createSeededRandom(7)
    const fork = random.fork('other')
    for (let i = 0; i < forked; i++) fork.between(0, 9)
    return Array.from({ length: 20 }, () => random.between(1, 1000))
  }
  expect(draw(0)).toEqual(draw(5))
  expect(new Set(draw(0)).size).toBeGreaterThan(15)
})
