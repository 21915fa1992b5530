import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { json } from 'node:stream/consumers'
import { expect, test } from 'vitest'
import { createRandom, newSeed } from '../../../src/simulator/seeded-random.ts'
import { until } from '../../support/until.ts'
import { runChaos } from './chaos.ts'
import { createDiary, type Told } from './diary.ts'
import { watchOverSse } from './over-sse.ts'
import { SHORT } from './plan.ts'
import { verdict } from './verdict.ts'

/** `npm run chaos -- --short --seed N` draws the chances of a failure again. */
test('cut, torn, stalled and killed at random, every client is told the whole log, in order, once', async () => {
  console.log(await runChaos(SHORT, newSeed()))
}, 180_000)

const LOG = ['a', 'b', 'c'].flatMap(id => ['QUEUED', 'COMPLETED'].map(status => ({ id, status })))
const told = (...places: number[]): Told[] => places.map(i => ({ ...LOG[i]!, cursor: `${i}` }))
const WHOLE = [0, 1, 2, 3, 4, 5]

test('the verdict on the whole log, in order, once, is none', () => {
  expect(verdict('me', told(...WHOLE), LOG)).toBeNull()
})

test.each([
  ['an event that was left out', told(0, 2, 3, 4, 5), /^me, at event 2 of 6: MISSING; .*COMPLETED of a$/],
  ['an end that never came', told(0, 1, 2, 3, 4), /at event 6 of 6: MISSING; told nothing/],
  ['an event told twice', told(0, 1, 1, 2, 3, 4, 5), /at event 3 of 6: DOUBLED/],
  ['a replay that begins too early', told(0, 1, 2, 1, 2, 3, 4, 5), /at event 4 of 6: DOUBLED/],
  ['one event too many at the end', told(...WHOLE, 5), /at event 7 of 6: DOUBLED; .*the log says nothing/],
  ['two events that changed places', told(0, 2, 1, 3, 4, 5), /at event 2 of 6: OUT OF ORDER/],
  ["another's event", [...told(0, 1), { id: 'x', status: 'QUEUED', cursor: 'x' }], /event 3 .*NOT ITS OWN/],
  ['one cursor for two events', told(...WHOLE).map(event => ({ ...event, cursor: '0' })), /event 2 .*CURSOR/],
])('the verdict finds %s', (_, sequence, breach) => {
  expect(verdict('me', sequence, LOG)).toMatch(breach)
})

test.each([
  [
    'a gap',
    { data: { predictionFeed: { __typename: 'FeedGap', cursor: 'c', reason: 'WHY' } } },
    /FeedGap, WHY/,
  ],
  ['an error', { data: null, errors: [{ message: 'no' }] }, /no/],
])('%s is wrong, whenever it comes', (_, result, wrong) => {
  const diary = createDiary('me')
  diary.take(result)
  expect(diary.wrong).toMatch(wrong)
})

test('an SSE reader resumes with `after`, and once it was given an id with Last-Event-ID and its first body', async () => {
  const asked: { after: unknown; id: unknown }[] = []
  const server = createServer(async (request, response) => {
    const { variables } = (await json(request)) as { variables: { after: unknown } }
    const place = asked.push({ after: variables.after, id: request.headers['last-event-id'] })
    const item = { data: { predictionFeed: { __typename: 'FeedCaughtUp', cursor: `c${place}` } } }
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.write(`${place < 3 ? '' : `id: c${place}\n`}event: next\ndata: ${JSON.stringify(item)}\n\n`)
    response.write('id: torn\nevent: next\ndata: {"da', () => request.socket.destroy())
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const watcher = watchOverSse({
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    key: 'k',
    document: '',
    variables: { after: 'c0', filter: {} },
    diary: createDiary('me'),
    random: createRandom(1),
  })
  await until(() => asked.length >= 5)
  await watcher.close()
  server.close()
  expect(asked.slice(0, 5)).toEqual([
    { after: 'c0', id: undefined },
    { after: 'c1', id: undefined },
    { after: 'c2', id: undefined },
    { after: 'c0', id: 'c3' },
    { after: 'c0', id: 'c4' },
  ])
})

test('a seed draws the same again, and whoever draws from a fork shifts nobody else', () => {
  const draw = (forked: number) => {
    const random = createRandom(7)
    const fork = random.fork('other')
    for (let i = 0; i < forked; i++) fork.between(0, 9)
    return Array.from({ length: 20 }, () => random.between(1, 1000))
  }
  expect(draw(0)).toEqual(draw(5))
  expect(new Set(draw(0)).size).toBeGreaterThan(15)
})
