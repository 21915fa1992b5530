import { subscribe as subscribeTo, unsubscribe } from 'node:diagnostics_channel'
import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import { connect, type Socket } from 'node:net'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { describe, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { openStore } from '../../../src/store/open-store.ts'
import { clocksFrom } from '../../support/clocks.ts'
import { openEventStream } from '../../support/event-stream.ts'
import { type Harness, startGateway, submit, TRANSPORTS, take } from '../../support/gateway.ts'
import { openRawWebSocket, type RawWebSocket } from '../../support/raw-websocket.ts'
import { addPrediction, allPredictions } from '../../support/store.ts'
import { until } from '../../support/until.ts'

const FEED = 'subscription { predictionFeed { __typename ... on FeedCaughtUp { cursor } } }'

const subscribe = (id: string, query = FEED) => ({ id, type: 'subscribe', payload: { query } })

const stream = (harness: Harness, query = FEED, headers = {}, variables = {}) =>
  openEventStream(harness, { query, headers, variables })

/** Bytes of all live buffers, after a garbage collection. */
const bufferBytes = () => memoryAfterCollection().arrayBuffers

const usedHeap = () => memoryAfterCollection().heapUsed

function memoryAfterCollection(): NodeJS.MemoryUsage {
  setFlagsFromString('--expose-gc')
  runInNewContext('gc')()
  return process.memoryUsage()
}

describe('limits', () => {
  test('the connection above the limit is closed with 1013 or gets a 429; a closed one makes room', async () => {
    await using harness = await startGateway({ env: { MAX_CONNECTIONS_PER_APP: '2' } })
    const first = await openRawWebSocket(harness)
    const second = await stream(harness)
    await until(() => second.text.includes('FeedCaughtUp'))
    expect(await (await openRawWebSocket(harness)).closed).toEqual([1013, 'Too many connections'])
    const rejected = await stream(harness)
    expect([rejected.response.status, rejected.response.headers.get('retry-after')]).toEqual([429, '1'])
    await rejected.ended
    expect(JSON.parse(rejected.text).errors[0].extensions.code).toBe('TOO_MANY_CONNECTIONS')

    const other = await harness.gateway.issueKey('other', 60_000)
    const theirs = await openRawWebSocket(harness, other)
    expect(theirs.received[0]).toEqual({ type: 'connection_ack' })
    first.socket.close()
    await first.closed
    const next = await until(async () => {
      const retried = await openRawWebSocket(harness)
      return retried.received[0]?.type === 'connection_ack' && retried
    })
    for (const { socket, closed } of [next, theirs]) {
      socket.close()
      await closed
    }
  })

  test('a rejected connection_init is counted and logged as a rejected POST is', async () => {
    await using harness = await startGateway({ env: { MAX_REQUESTS_PER_MINUTE_PER_KEY: '1' } })
    const rejectPost = async (key: string) => void (await harness.query('{ viewer { name } }', {}, key))
    const rejectInit = async (key: string) => void (await (await openRawWebSocket(harness, key)).closed)
    const observed = []
    for (const [app, reject] of [
      ['posts', rejectPost],
      ['sockets', rejectInit],
    ] as const) {
      const key = await harness.gateway.issueKey(app, 60_000)
      await harness.query('{ viewer { name } }', {}, key)
      for (let i = 0; i < 2; i++) await reject(key)
      await reject('rsh_unknown')
      const metrics = await (await harness.fetch('/metrics')).text()
      const metricValue = (line: string) => Number(new RegExp(`^${line} (.+)$`, 'm').exec(metrics)?.[1])
      const logged = harness.log.filter(({ fields }) => fields.app === app)
      observed.push({
        rejections: metricValue(`rushes_rejections_total\\{app="${app}",code="RATE_LIMITED"\\}`),
        invalidCredentials: metricValue('rushes_invalid_credentials_total'),
        logged: logged.map(({ level, message, fields }) => [level, message, fields.code]),
      })
    }
    const logged = [['info', 'app hit a limit (logged at most once a minute)', 'RATE_LIMITED']]
    expect(observed).toEqual([
      { rejections: 2, invalidCredentials: 1, logged },
      { rejections: 2, invalidCredentials: 2, logged },
    ])
  })

  test('an operation that is sent right behind connection_init is answered', async () => {
    await using harness = await startGateway()
    await harness.query('{ viewer { name } }')
    for (let i = 0; i < 20; i++) {
      const socket = new WebSocket(harness.gateway.endpoint.replace('http', 'ws'), 'graphql-transport-ws')
      const closed = once(socket, 'close')
      const types: string[] = []
      socket.on('message', data => types.push(JSON.parse(String(data)).type))
      await once(socket, 'open')
      socket.send(
        JSON.stringify({ type: 'connection_init', payload: { authorization: `Bearer ${harness.key}` } }),
      )
      socket.send(JSON.stringify(subscribe('a', '{ viewer { name } }')))
      await Promise.race([until(() => types.length === 3), closed])
      expect(types).toEqual(['connection_ack', 'next', 'complete'])
      socket.close()
      await closed
    }
  })

  test('the subscription above the limit gets an error; the others continue', async () => {
    await using harness = await startGateway({ env: { MAX_SUBSCRIPTIONS_PER_CONNECTION: '2' } })
    const { socket, received, send, closed } = await openRawWebSocket(harness)
    for (const id of ['a', 'b', 'c']) send(subscribe(id))
    await until(() => received.length === 4)
    for (const id of ['a', 'b'])
      expect(received.find(message => message.id === id)).toMatchObject({ type: 'next' })
    expect(received.find(message => message.id === 'c')).toMatchObject({
      type: 'error',
      payload: [{ extensions: { code: 'TOO_MANY_SUBSCRIPTIONS' } }],
    })
    send({ id: 'a', type: 'complete' })
    send(subscribe('d'))
    await until(() => received.find(message => message.id === 'd' && message.type === 'next'))
    socket.close()
    await closed
  })

  test('operations above the rate get an error; a second later they are accepted', async () => {
    await using harness = await startGateway({ env: { MAX_OPERATIONS_PER_SECOND: '5' } })
    const { socket, received, send, closed } = await openRawWebSocket(harness)
    for (let i = 0; i < 20; i++) send(subscribe(`${i}`, '{ viewer { name } }'))
    await until(() => received.filter(message => message.type !== 'complete').length === 21)
    const rejected = received.filter(message => message.type === 'error')
    expect(rejected.length).toBeGreaterThanOrEqual(13)
    expect(rejected[0]?.payload?.[0]?.extensions?.code).toBe('TOO_MANY_OPERATIONS')
    await until(() => {
      const id = `again ${Date.now()}`
      send(subscribe(id, '{ viewer { name } }'))
      return received.some(message => message.id?.startsWith('again') && message.type === 'next')
    })
    socket.close()
    await closed
  })

  test('a message above the limit closes with 1009, a body gets a 413', async () => {
    await using harness = await startGateway({ env: { MAX_MESSAGE_BYTES: '2000' } })
    const { send, closed } = await openRawWebSocket(harness)
    send(subscribe('a', `{ __typename } # ${'x'.repeat(2000)}`))
    expect((await closed)[0]).toBe(1009)
    expect((await stream(harness, `${FEED} # ${'x'.repeat(2000)}`)).response.status).toBe(413)
  })
})

describe('the protocol', () => {
  test('compresses nothing, even if the client offers to', async () => {
    await using harness = await startGateway()
    const { socket, closed } = await openRawWebSocket(harness)
    expect(socket.extensions).toBe('')
    socket.close()
    await closed
  })

  test.each(['"\\ \n', 'ü ☃ 🎬', '\u2028\ud800', '__proto__', 'constructor', 'x'.repeat(1000)])(
    'an operation may have any id: %j',
    async id => {
      await using harness = await startGateway()
      const { socket, received, send, closed } = await openRawWebSocket(harness)
      send(subscribe(id))
      await until(() => received.length === 2)
      expect(received[1]).toMatchObject({ id, type: 'next' })
      send({ id, type: 'complete' })
      socket.close()
      await closed
    },
  )

  test('an id that is completed and reused in one packet is a new subscription', async () => {
    await using harness = await startGateway()
    const { socket, received, send, closed } = await openRawWebSocket(harness)
    send(subscribe('a'))
    await until(() => received.length === 2)
    const { _socket: below } = socket as unknown as { _socket: Socket }
    below.cork()
    send({ id: 'a', type: 'complete' })
    send(subscribe('a'))
    below.uncork()
    await until(() => received.length === 3)
    await submit(harness)
    await until(() => received.length > 3)
    expect(received.map(({ id, type }) => [id, type])).toEqual([
      [undefined, 'connection_ack'],
      ...received.slice(1).map(() => ['a', 'next']),
    ])
    socket.close()
    await closed
  })

  test('a large message waits for a turn, and the messages after it wait for it', async () => {
    await using harness = await startGateway()
    const { socket, received, send } = await openRawWebSocket(harness)
    const extensions = { padding: 'a'.repeat(100_000) }
    const feed = 'subscription { predictionFeed { __typename } }'
    // Out of order, the id would be in use, and the connection closed.
    send({ id: '1', type: 'subscribe', payload: { query: feed, extensions } })
    send({ id: '1', type: 'complete' })
    send({ id: '1', type: 'subscribe', payload: { query: '{ __typename }', extensions } })
    send({ type: 'ping' })
    await until(() => ['complete', 'pong'].every(end => received.some(({ type }) => type === end)))
    const types = received.map(({ type }) => type).filter(type => type !== 'pong')
    expect(types.slice(-2)).toEqual(['next', 'complete'])
    socket.close()
  })

  test('ids and variables that are too long to be kept are rejected', async () => {
    await using harness = await startGateway()
    const { socket, received, send, closed } = await openRawWebSocket(harness)
    send(subscribe('x'.repeat(1001)))
    const query = 'subscription ($f: PredictionFilter) { predictionFeed(filter: $f) { __typename } }'
    const variables = { f: { tags: ['x'.repeat(70_000)] } }
    send({ id: 'a', type: 'subscribe', payload: { query, variables } })
    await until(() => received.length === 4)
    expect(received.map(({ type }) => type)).toEqual(['connection_ack', 'error', 'next', 'complete'])
    for (const { payload } of received.slice(1, 3)) expect(JSON.stringify(payload)).toContain('BAD_ARGUMENT')
    expect(harness.log.filter(line => line.level === 'error')).toEqual([])
    socket.close()
    await closed
  })

  test.each([
    ['variables that it does not declare', '{"variables":{"x":[VALUES]}}', ''],
    ['extensions', '{"extensions":{"x":[VALUES]}}', ''],
    ['names that nothing reads', '{"x":[VALUES]}', ',"x":[VALUES]'],
    ['a cursor that is not one', '{"variables":{"a":"TEXT"}}', ''],
    ['blanks around it', '{}', 'BLANKS'],
    ['a document of 120 fields', 'DOCUMENT', ''],
  ])('a live subscription does not keep %s', async (_, payload, tail) => {
    await using harness = await startGateway({
      env: { MAX_SUBSCRIPTIONS_PER_CONNECTION: '1000', MAX_OPERATIONS_PER_SECOND: '100000' },
    })
    const { socket, received, closed } = await openRawWebSocket(harness)
    const fill = (text: string, i: number) =>
      text
        .replace('VALUES', [i, ...Array(9000).fill('{}')].join())
        .replace('TEXT', 'x'.repeat(100_000) + i)
        .replace('BLANKS', ' '.repeat(200_000))
        .replace(
          'DOCUMENT',
          JSON.stringify({ query: `subscription { ${'predictionFeed { __typename } '.repeat(60)}} # ${i}` }),
        )
    const query = 'subscription ($a: String) { predictionFeed(after: $a) { __typename } }'
    const subscribeTimes = async (from: number, to: number) => {
      for (let i = from; i < to; i++) {
        const params = JSON.stringify({ query, ...JSON.parse(fill(payload, i)) })
        socket.send(`{"id":"${i}","type":"subscribe","payload":${params}${fill(tail, i)}}`)
      }
      await until(() => received.filter(({ type }) => type === 'next').length === to)
      return usedHeap()
    }
    // The caches of documents are full after 220.
    const warmup = payload === 'DOCUMENT' ? 240 : 10
    const before = await subscribeTimes(0, warmup)
    const bytes = ((await subscribeTimes(warmup, warmup + 30)) - before) / 30
    // Small subscriptions take 7 KB, and these took 200 KB to 600 KB.
    expect(bytes).toBeLessThan(30_000)
    socket.close()
    await closed
  })

  test('streams that are queued behind another on one connection end with it', async () => {
    await using harness = await startGateway({ env: { MAX_CONNECTIONS_PER_APP: '3' } })
    const { port } = new URL(harness.gateway.url)
    const body = JSON.stringify({ query: FEED })
    const request = `POST /graphql HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${harness.key}\r\nContent-Type: application/json\r\nAccept: text/event-stream\r\nContent-Length: ${body.length}\r\n\r\n${body}`
    const pipelined = connect(Number(port), '127.0.0.1')
    pipelined.write(request.repeat(3))
    await once(pipelined, 'data')
    await until(async () => (await stream(harness)).response.status === 429)
    pipelined.destroy()
    await until(async () => (await stream(harness)).response.status === 200)
  })

  test('an id that is in use closes with 4409, however long it is', async () => {
    await using harness = await startGateway()
    const { received, send, closed } = await openRawWebSocket(harness)
    send(subscribe('x'.repeat(200)))
    await until(() => received.length === 2)
    send(subscribe('x'.repeat(200)))
    expect((await closed)[0]).toBe(4409)
  })

  test('a subscription that selects nothing gets an error; the others on its socket continue', async () => {
    await using harness = await startGateway()
    const { socket, received, send, closed } = await openRawWebSocket(harness)
    send(subscribe('a'))
    send(subscribe('b', 'subscription { predictionFeed @skip(if: true) { __typename } }'))
    await until(() => received.some(({ id, type }) => id === 'b' && type === 'complete'))
    expect(JSON.stringify(received)).toContain('"BAD_ARGUMENT"')
    expect(harness.log.filter(line => line.level === 'error')).toEqual([])
    await submit(harness)
    await until(() => received.filter(({ id }) => id === 'a').length > 1)
    socket.close()
    await closed
  })

  test('an operation that a token may not run gets an error; the others on its socket continue', async () => {
    await using harness = await startGateway()
    const { data } = await harness.query(
      'mutation { createAccessToken(input: { permissions: [SUBMIT] }) { ... on CreateAccessTokenPayload { token } } }',
    )
    const { socket, received, send, closed } = await openRawWebSocket(harness, data.createAccessToken.token)
    send(subscribe('a', '{ viewer { name } }'))
    send(subscribe('b', 'mutation { cancelPrediction(input: { id: "x" }) { __typename } }'))
    await until(() => received.filter(({ type }) => type === 'complete').length === 2)
    const messageOf = (id: string) => JSON.stringify(received.find(message => message.id === id))
    expect(messageOf('a')).toContain('"FORBIDDEN"')
    expect(messageOf('b')).toContain('"NotFoundError"')
    expect(harness.log.filter(line => line.level === 'error')).toEqual([])
    socket.close()
    await closed
  })

  test('an invalid message closes with 4400, and logs no error', async () => {
    await using harness = await startGateway()
    for (const message of [{ id: 'a', type: 'next', payload: {} }, { type: 'nonsense' }, 'text']) {
      const { send, closed } = await openRawWebSocket(harness)
      send(message as object)
      expect((await closed)[0]).toBe(4400)
    }
    expect(harness.log.filter(line => line.level === 'error')).toEqual([])
  })

  test('a socket that closes during its authentication does not count', async () => {
    await using harness = await startGateway({ env: { MAX_CONNECTIONS_PER_APP: '1' } })
    const { store } = harness.gateway
    const { findKey } = store
    let open = () => {}
    const gate = new Promise<void>(resolve => {
      open = resolve
    })
    let asked = 0
    store.findKey = async prefix => {
      asked++
      await gate
      return findKey(prefix)
    }
    const socket = new WebSocket(harness.gateway.endpoint.replace('http', 'ws'), 'graphql-transport-ws')
    await once(socket, 'open')
    socket.send(
      JSON.stringify({ type: 'connection_init', payload: { authorization: `Bearer ${harness.key}` } }),
    )
    await until(() => asked === 1)
    socket.terminate()
    await once(socket, 'close')
    // Once this request is answered, the server has seen the close of the socket.
    await harness.fetch('/health/live')
    open()
    store.findKey = findKey
    const next = await openRawWebSocket(harness)
    expect(next.received[0]).toEqual({ type: 'connection_ack' })
    next.socket.close()
    await next.closed
  })
})

describe('credentials', () => {
  test.each([
    ['expires', async (_: Harness, later: () => void) => later()],
    ['is revoked', async (harness: Harness) => harness.gateway.store.revokeKey(harness.key.slice(0, 12))],
  ])(
    'a key that %s ends its sockets with 4403 and its streams without `complete`, within five seconds',
    async (_, invalidate) => {
      let clockOffsetMs = 0
      await using harness = await startGateway({
        overrides: { clocks: clocksFrom(() => Date.now() + clockOffsetMs) },
      })
      const other = await harness.gateway.issueKey('test', 24 * 60 * 60 * 1000)
      const [mine, theirs, streaming] = [
        await openRawWebSocket(harness),
        await openRawWebSocket(harness, other),
        await stream(harness),
      ]
      mine.send(subscribe('a'))
      await until(() => streaming.text.includes('FeedCaughtUp'))
      const invalidatedAt = Date.now()
      await invalidate(harness, () => {
        clockOffsetMs = 2 * 60 * 60 * 1000
      })
      expect(await mine.closed).toEqual([4403, 'Forbidden'])
      expect(await streaming.ended).toBe('ended')
      expect(Date.now() - invalidatedAt).toBeLessThan(5000)
      expect(streaming.text).not.toContain('complete')
      expect(await (await openRawWebSocket(harness)).closed).toEqual([4401, 'Unauthorized'])
      expect(theirs.socket.readyState).toBe(WebSocket.OPEN)
      theirs.socket.close()
      await theirs.closed
    },
  )
})

describe('shutdown', () => {
  test('readiness fails first; then sockets are closed, with 1012', async () => {
    await using harness = await startGateway()
    const sockets = []
    for (let i = 0; i < 20; i++) sockets.push(await openRawWebSocket(harness))
    expect((await harness.fetch('/health/ready')).status).toBe(200)
    const begun = Date.now()
    let closedCount = 0
    for (const { closed } of sockets) void closed.then(() => closedCount++)
    const ended = harness.gateway.close()
    const answer = await harness.fetch('/health/ready')
    expect([answer.status, closedCount < sockets.length]).toEqual([503, true])
    await ended
    for (const { closed } of sockets) expect(await closed).toEqual([1012, 'Service restart'])
    expect(Date.now() - begun).toBeLessThan(5000)
  })

  test('pending requests are answered, and every row on disk was acknowledged', async () => {
    await using harness = await startGateway()
    const { store } = harness.gateway
    const { create } = store
    const gate = Promise.withResolvers<void>()
    let waiting = 0
    store.create = async (...asked) => {
      waiting++
      await gate.promise
      return create(...asked)
    }
    const submits = Array.from({ length: 40 }, () => submit(harness))
    await until(() => waiting === 40)
    const ended = harness.gateway.close()
    for (let i = 0; i < 10; i++) await new Promise(setImmediate)
    gate.resolve()
    expect(new Set(await Promise.all(submits)).size).toBe(40)
    await ended
    const nextProcess = await openStore(harness.databaseUrl, () => {})
    expect(await allPredictions(nextProcess)).toHaveLength(40)
    await nextProcess.close()
  })

  test('a connection during the drain is rejected with Retry-After', async () => {
    await using harness = await startGateway()
    const sockets: RawWebSocket[] = []
    for (let i = 0; i < 30; i++) sockets.push(await openRawWebSocket(harness))
    const port = Number(new URL(harness.gateway.url).port)
    const early = connect(port, '127.0.0.1')
    await once(early, 'connect')
    const ended = harness.gateway.close()
    early.write(
      'GET /graphql HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n',
    )
    let answer = ''
    early.on('data', chunk => {
      answer += chunk
    })
    await once(early, 'close')
    await ended
    expect(answer).toMatch(/^(HTTP\/1.1 503 .*Retry-After: 1|$)/is)
    for (const { closed } of sockets) await closed
  })
})

describe('a client that does not read', () => {
  /** The TCP socket below the WebSocket. While it is paused, nothing is read from the kernel. */
  const tcpSocketOf = ({ socket }: RawWebSocket) => (socket as unknown as { _socket: Socket })._socket

  test('costs a bounded buffer, resumes when it reads, and does not affect others', async () => {
    await using harness = await startGateway({
      env: { DATABASE_URL: 'file::memory:' },
      // Nothing is submitted: one event each.
      overrides: { simulator: { fault: () => ({ status: 401, body: '{"code":401,"message":"no"}' }) } },
    })
    const { store } = harness.gateway
    const app = (await store.findAppByName('test'))!.id
    const query =
      'subscription { predictionFeed { ... on PredictionEvent { cursor prediction { metadata } } } }'
    const [stalled, live] = [await openRawWebSocket(harness), await openRawWebSocket(harness)]
    for (const { send, received } of [stalled, live]) {
      send(subscribe('a', query))
      await until(() => received.length === 2)
    }
    tcpSocketOf(stalled).pause()
    const before = bufferBytes()
    // More than the buffers of the kernel take.
    const [count, size] = [400, 100_000]
    for (let i = 0; i < count; i++) {
      await addPrediction(store, app, Date.now(), { metadata: `${i}`.padEnd(size, 'x') })
      await until(() => live.received.length === i + 3)
    }
    expect(stalled.received).toHaveLength(2)
    // Freed buffers are given back in the background.
    await until(() => bufferBytes() - before < (count * size) / 2)
    tcpSocketOf(stalled).resume()
    await until(() => stalled.received.length === count + 2)
    expect(stalled.received).toEqual(live.received)
    for (const { socket, closed } of [stalled, live]) {
      socket.close()
      await closed
    }
  })

  test('cannot fill the memory with results of queries, or with pongs', async () => {
    await using harness = await startGateway({ env: { MAX_OPERATIONS_PER_SECOND: '1000000' } })
    const flood = await openRawWebSocket(harness)
    tcpSocketOf(flood).pause()
    const before = bufferBytes()
    const introspection = '{ __schema { types { name description fields { name description } } } }'
    for (let i = 0; i < 3000; i++) flood.send(subscribe(`${i}`, introspection))
    for (let i = 0; i < 20_000; i++) flood.socket.ping('x'.repeat(100))
    for (let i = 0; i < 20; i++) {
      expect((await harness.query('{ viewer { name } }')).data).toEqual({ viewer: { name: 'test' } })
      await until(() => bufferBytes() - before < 64 * 1024 * 1024)
    }
    flood.socket.terminate()
    await flood.closed
  })

  test('is not read further: its requests wait, and are answered when it reads', async () => {
    await using harness = await startGateway({ env: { MAX_OPERATIONS_PER_SECOND: '1000000' } })
    const { store } = harness.gateway
    const app = (await store.findAppByName('test'))!.id
    await addPrediction(store, app, Date.now(), { metadata: 'x'.repeat(500_000) })
    const { list } = store
    let asked = 0
    store.list = async (...args) => {
      asked++
      return list(...args)
    }
    const slow = await openRawWebSocket(harness)
    tcpSocketOf(slow).pause()
    for (let i = 0; i < 100; i++)
      slow.send(subscribe(`${i}`, '{ predictions { edges { node { metadata } } } }'))
    let before = -1
    await until(async () => {
      const still = asked === before
      before = asked
      await harness.query('{ viewer { name } }')
      await new Promise(resolve => setTimeout(resolve, 100))
      return still && asked > 0
    })
    // The results that the kernel took, and one more.
    expect(asked).toBeLessThan(50)
    tcpSocketOf(slow).resume()
    await until(() => slow.received.filter(({ type }) => type === 'complete').length === 100)
    slow.socket.close()
    await slow.closed
  })

  test('for two intervals is disconnected on either transport; one that reads stays connected', async () => {
    await using harness = await startGateway({ overrides: { keepAliveMs: 300 } })
    const [dead, live] = [await openRawWebSocket(harness), await openRawWebSocket(harness)]
    const [deadStream, liveStream] = [await stream(harness), await stream(harness)]
    for (const { send } of [dead, live]) send(subscribe('a'))
    tcpSocketOf(dead).pause()
    await until(() => harness.gateway && dead.received.length > 0)
    await until(() => liveStream.text.split(':\n\n').length > 6)
    expect(live.socket.readyState).toBe(WebSocket.OPEN)
    tcpSocketOf(dead).resume()
    expect((await dead.closed)[0]).toBe(1006)
    expect(deadStream.text).toContain('FeedCaughtUp')
    live.socket.close()
    await live.closed
  })

  test('pings of the WebSocket and of graphql-transport-ws are answered', async () => {
    await using harness = await startGateway({ overrides: { keepAliveMs: 100 } })
    const { socket, received, send, closed } = await openRawWebSocket(harness)
    let pings = 0
    socket.on('ping', () => pings++)
    send({ type: 'ping', payload: { n: 1 } })
    await until(() => received.find(message => message.type === 'pong'))
    socket.ping('x')
    const [data] = await once(socket, 'pong')
    expect(String(data)).toBe('x')
    await until(() => pings > 3)
    socket.close()
    await closed
  })
})

describe('server-sent events', () => {
  test('do not keep the body of their request', async () => {
    await using harness = await startGateway()
    const open = async (count: number) => {
      const variables = { other: Array(9000).fill({}) }
      const streams = []
      for (let i = 0; i < count; i++) streams.push(await stream(harness, FEED, {}, variables))
      return streams
    }
    const streams = await open(5)
    const before = usedHeap()
    streams.push(...(await open(20)))
    // A stream and its client take some 100 KB. The body and its values take 1.2 MB.
    expect((usedHeap() - before) / 20).toBeLessThan(400_000)
    expect(streams.map(({ response }) => response.status)).toEqual(Array(25).fill(200))
  })

  const EVENTS = `subscription ($after: String) { predictionFeed(after: $after) {
    __typename ... on PredictionEvent { cursor prediction { status } } ... on FeedCaughtUp { cursor } } }`

  test('carry the cursor as `id:`, and Last-Event-ID resumes right after it, whatever `after` says', async () => {
    await using harness = await startGateway()
    const first = await stream(harness, EVENTS)
    await submit(harness)
    await until(() => first.text.includes('COMPLETED'))
    const events = [...first.text.matchAll(/id: (\S+)\nevent: next\ndata: (.+)\n\n/g)].map(
      ([, id, data]) => ({ id, item: JSON.parse(data!).data.predictionFeed }),
    )
    expect(events.length).toBeGreaterThan(3)
    for (const { id, item } of events) expect(id).toBe(item.cursor)
    const second = await stream(
      harness,
      EVENTS,
      { 'last-event-id': events[1]!.id! },
      { after: events[0]!.id },
    )
    await until(() => second.text.includes('FeedCaughtUp'))
    const ids = [...second.text.matchAll(/id: (\S+)\n/g)].map(match => match[1])
    expect(ids.slice(0, -1)).toEqual(events.slice(2).map(event => event.id))
  })
})

test('a slow event stream ends when its key is revoked, and later events do not end the process', async () => {
  await using harness = await startGateway({
    env: { DATABASE_URL: 'file::memory:' },
    overrides: {
      httpTimeouts: { keepAliveTimeout: 1000 },
      simulator: { fault: () => ({ status: 401, body: '{"code":401,"message":"no"}' }) },
    },
  })
  const { store } = harness.gateway
  const app = (await store.findAppByName('test'))!.id
  const { port } = new URL(harness.gateway.url)
  const socket = connect(Number(port), '127.0.0.1')
  const query = 'subscription { predictionFeed { ... on PredictionEvent { prediction { metadata } } } }'
  const body = JSON.stringify({ query })
  const begun = new Promise<ServerResponse>(resolve => {
    const onMessage = (message: unknown) => {
      unsubscribe('http.server.request.start', onMessage)
      resolve((message as { response: ServerResponse }).response)
    }
    subscribeTo('http.server.request.start', onMessage)
  })
  socket.write(
    `POST /graphql HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${harness.key}\r\nContent-Type: application/json\r\nAccept: text/event-stream\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
  )
  await once(socket, 'readable')
  const response = await begun
  const grow = () => addPrediction(store, app, Date.now(), { metadata: 'x'.repeat(20_000) })
  // Slow, and not full yet: it would be sent the next event.
  while (response.writableLength === 0) {
    await grow()
    await new Promise(setImmediate)
  }
  await store.revokeKey(harness.key.slice(0, 12))
  await until(() => response.writableEnded)
  expect(response.destroyed).toBe(false)
  for (let i = 0; i < 5; i++) {
    await grow()
    await new Promise(resolve => setTimeout(resolve, 10))
  }
  socket.resume()
  await once(socket, 'close')
  expect((await harness.fetch('/health/live')).status).toBe(200)
})

test.each(TRANSPORTS)('over %s an abandoned subscription is released', async transport => {
  await using harness = await startGateway()
  const feed = harness.subscribe(transport, FEED)
  await take(feed, 1)
  await feed.return?.()
  await submit(harness)
  expect(harness.log.filter(line => line.level === 'error')).toEqual([])
})
