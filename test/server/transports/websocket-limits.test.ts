import { subscribe as subscribeTo, unsubscribe } from 'node:diagnostics_channel'
import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { describe, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { inFile } from '../../support/file.ts'
import { type Harness, startGateway, submit, TRANSPORTS, take } from '../../support/gateway.ts'
import { add } from '../../support/store.ts'
import { stream as streamOf } from '../../support/stream.ts'
import { type Talk, talk } from '../../support/talk.ts'
import { until } from '../../support/until.ts'

const FEED = 'subscription { predictionFeed { __typename ... on FeedCaughtUp { cursor } } }'

const subscribe = (id: string, query = FEED) => ({ id, type: 'subscribe', payload: { query } })

const stream = (harness: Harness, query = FEED, headers = {}, variables = {}) =>
  streamOf(harness, { query, headers, variables })

/** What buffers hold, without what only waits to be collected. */
function bufferBytes(): number {
  setFlagsFromString('--expose-gc')
  runInNewContext('gc')()
  return process.memoryUsage().arrayBuffers
}

describe('caps', () => {
  test('one connection too many is closed with 1013 or gets a 429; one that leaves makes room', async () => {
    await using harness = await startGateway({ env: { MAX_CONNECTIONS_PER_APP: '2' } })
    const first = await talk(harness)
    const second = await stream(harness)
    await until(() => second.text.includes('FeedCaughtUp'))
    expect(await (await talk(harness)).closed).toEqual([1013, 'Too many connections'])
    const refused = await stream(harness)
    expect([refused.response.status, refused.response.headers.get('retry-after')]).toEqual([429, '1'])
    await refused.ended
    expect(JSON.parse(refused.text).errors[0].extensions.code).toBe('TOO_MANY_CONNECTIONS')

    const other = await harness.gateway.issueKey('other', 60_000)
    const theirs = await talk(harness, other)
    expect(theirs.heard[0]).toEqual({ type: 'connection_ack' })
    first.socket.close()
    await first.closed
    const next = await until(async () => {
      const talking = await talk(harness)
      return talking.heard[0]?.type === 'connection_ack' && talking
    })
    for (const { socket, closed } of [next, theirs]) {
      socket.close()
      await closed
    }
  })

  test('one subscription too many gets an error; the others go on', async () => {
    await using harness = await startGateway({ env: { MAX_SUBSCRIPTIONS_PER_CONNECTION: '2' } })
    const { socket, heard, say, closed } = await talk(harness)
    for (const id of ['a', 'b', 'c']) say(subscribe(id))
    await until(() => heard.length === 4)
    for (const id of ['a', 'b'])
      expect(heard.find(message => message.id === id)).toMatchObject({ type: 'next' })
    expect(heard.find(message => message.id === 'c')).toMatchObject({
      type: 'error',
      payload: [{ extensions: { code: 'TOO_MANY_SUBSCRIPTIONS' } }],
    })
    say({ id: 'a', type: 'complete' })
    say(subscribe('d'))
    await until(() => heard.find(message => message.id === 'd' && message.type === 'next'))
    socket.close()
    await closed
  })

  test('operations a second over the cap get an error; a second later they are welcome', async () => {
    await using harness = await startGateway({ env: { MAX_OPERATIONS_PER_SECOND: '5' } })
    const { socket, heard, say, closed } = await talk(harness)
    for (let i = 0; i < 20; i++) say(subscribe(`${i}`, '{ viewer { name } }'))
    await until(() => heard.filter(message => message.type !== 'complete').length === 21)
    const refused = heard.filter(message => message.type === 'error')
    expect(refused.length).toBeGreaterThanOrEqual(13)
    expect(refused[0]?.payload?.[0]?.extensions?.code).toBe('TOO_MANY_OPERATIONS')
    await until(() => {
      const id = `again ${Date.now()}`
      say(subscribe(id, '{ viewer { name } }'))
      return heard.some(message => message.id?.startsWith('again') && message.type === 'next')
    })
    socket.close()
    await closed
  })

  test('a message over the cap is closed with 1009, a body gets a 413', async () => {
    await using harness = await startGateway({ env: { MAX_MESSAGE_BYTES: '2000' } })
    const { say, closed } = await talk(harness)
    say(subscribe('a', `{ __typename } # ${'x'.repeat(2000)}`))
    expect((await closed)[0]).toBe(1009)
    expect((await stream(harness, `${FEED} # ${'x'.repeat(2000)}`)).response.status).toBe(413)
  })
})

describe('the protocol', () => {
  test('compresses nothing, even for one who offers to', async () => {
    await using harness = await startGateway()
    const { socket, closed } = await talk(harness)
    expect(socket.extensions).toBe('')
    socket.close()
    await closed
  })

  test.each(['"\\ \n', 'ü ☃ 🎬', '\u2028\ud800', '__proto__', 'constructor', 'x'.repeat(1000)])(
    'an operation may have any id: %j',
    async id => {
      await using harness = await startGateway()
      const { socket, heard, say, closed } = await talk(harness)
      say(subscribe(id))
      await until(() => heard.length === 2)
      expect(heard[1]).toMatchObject({ id, type: 'next' })
      say({ id, type: 'complete' })
      socket.close()
      await closed
    },
  )

  test('an id that is completed and used again in one packet is a new subscription', async () => {
    await using harness = await startGateway()
    const { socket, heard, say, closed } = await talk(harness)
    say(subscribe('a'))
    await until(() => heard.length === 2)
    const { _socket: below } = socket as unknown as { _socket: Socket }
    below.cork()
    say({ id: 'a', type: 'complete' })
    say(subscribe('a'))
    below.uncork()
    await until(() => heard.length === 3)
    await submit(harness)
    await until(() => heard.length > 3)
    expect(heard.map(({ id, type }) => [id, type])).toEqual([
      [undefined, 'connection_ack'],
      ...heard.slice(1).map(() => ['a', 'next']),
    ])
    socket.close()
    await closed
  })

  test('an id or variables too long are refused, where thousands would have to be kept', async () => {
    await using harness = await startGateway()
    const { socket, heard, say, closed } = await talk(harness)
    say(subscribe('x'.repeat(1001)))
    const query = 'subscription ($f: PredictionFilter) { predictionFeed(filter: $f) { __typename } }'
    const variables = { f: { tags: ['x'.repeat(70_000)] } }
    say({ id: 'a', type: 'subscribe', payload: { query, variables } })
    await until(() => heard.length === 4)
    expect(heard.map(({ type }) => type)).toEqual(['connection_ack', 'error', 'next', 'complete'])
    for (const { payload } of heard.slice(1, 3)) expect(JSON.stringify(payload)).toContain('BAD_ARGUMENT')
    expect(harness.log.filter(line => line.level === 'error')).toEqual([])
    socket.close()
    await closed
  })

  test('streams that wait behind another on one connection are let go of with it', async () => {
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
    const { heard, say, closed } = await talk(harness)
    say(subscribe('x'.repeat(200)))
    await until(() => heard.length === 2)
    say(subscribe('x'.repeat(200)))
    expect((await closed)[0]).toBe(4409)
  })

  test('a subscription that asks for nothing gets an error; the others of its socket go on', async () => {
    await using harness = await startGateway()
    const { socket, heard, say, closed } = await talk(harness)
    say(subscribe('a'))
    say(subscribe('b', 'subscription { predictionFeed @skip(if: true) { __typename } }'))
    await until(() => heard.some(({ id, type }) => id === 'b' && type === 'complete'))
    expect(JSON.stringify(heard)).toContain('"BAD_ARGUMENT"')
    expect(harness.log.filter(line => line.level === 'error')).toEqual([])
    await submit(harness)
    await until(() => heard.filter(({ id }) => id === 'a').length > 1)
    socket.close()
    await closed
  })

  test('what a token does not permit is refused with an error; the others of its socket go on', async () => {
    await using harness = await startGateway()
    const { data } = await harness.query(
      'mutation { createAccessToken(input: { permissions: [SUBMIT] }) { ... on CreateAccessTokenPayload { token } } }',
    )
    const { socket, heard, say, closed } = await talk(harness, data.createAccessToken.token)
    say(subscribe('a', '{ viewer { name } }'))
    say(subscribe('b', 'mutation { cancelPrediction(input: { id: "x" }) { __typename } }'))
    await until(() => heard.filter(({ type }) => type === 'complete').length === 2)
    const told = (id: string) => JSON.stringify(heard.find(message => message.id === id))
    expect(told('a')).toContain('"FORBIDDEN"')
    expect(told('b')).toContain('"NotFoundError"')
    expect(harness.log.filter(line => line.level === 'error')).toEqual([])
    socket.close()
    await closed
  })

  test('a message that is none of a client’s closes with 4400 and fills no log', async () => {
    await using harness = await startGateway()
    for (const message of [{ id: 'a', type: 'next', payload: {} }, { type: 'nonsense' }, 'text']) {
      const { say, closed } = await talk(harness)
      say(message as object)
      expect((await closed)[0]).toBe(4400)
    }
    expect(harness.log.filter(line => line.level === 'error')).toEqual([])
  })

  test('a socket that is gone before its key is known does not count', async () => {
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
    // The server has seen it go, too.
    await harness.fetch('/health/live')
    open()
    store.findKey = findKey
    const next = await talk(harness)
    expect(next.heard[0]).toEqual({ type: 'connection_ack' })
    next.socket.close()
    await next.closed
  })
})

describe('keys', () => {
  test.each([
    ['expires', async (_: Harness, later: () => void) => later()],
    ['is revoked', async (harness: Harness) => harness.gateway.store.revokeKey(harness.key.slice(0, 12))],
  ])(
    'a key that %s ends its sockets with 4403 and its streams without `complete`, within five seconds',
    async (_, lose) => {
      let ahead = 0
      await using harness = await startGateway({ overrides: { now: () => Date.now() + ahead } })
      const other = await harness.gateway.issueKey('test', 24 * 60 * 60 * 1000)
      const [mine, theirs, streaming] = [
        await talk(harness),
        await talk(harness, other),
        await stream(harness),
      ]
      mine.say(subscribe('a'))
      await until(() => streaming.text.includes('FeedCaughtUp'))
      const lost = Date.now()
      await lose(harness, () => {
        ahead = 2 * 60 * 60 * 1000
      })
      expect(await mine.closed).toEqual([4403, 'Forbidden'])
      expect(await streaming.ended).toBe('ended')
      expect(Date.now() - lost).toBeLessThan(5000)
      expect(streaming.text).not.toContain('complete')
      expect(await (await talk(harness)).closed).toEqual([4401, 'Unauthorized'])
      expect(theirs.socket.readyState).toBe(WebSocket.OPEN)
      theirs.socket.close()
      await theirs.closed
    },
  )
})

describe('the end', () => {
  test('readiness goes first; then sockets are closed one after the other, with 1012', async () => {
    await using harness = await startGateway()
    const talks = []
    for (let i = 0; i < 20; i++) talks.push(await talk(harness))
    expect((await harness.fetch('/health/ready')).status).toBe(200)
    const begun = Date.now()
    const moments: number[] = []
    for (const { closed } of talks) void closed.then(() => moments.push(Date.now() - begun))
    const ended = harness.gateway.close()
    const answer = await harness.fetch('/health/ready')
    expect([answer.status, moments.length < talks.length]).toEqual([503, true])
    await ended
    for (const { closed } of talks) expect(await closed).toEqual([1012, 'Service restart'])
    expect(moments.at(-1)! - moments[0]!).toBeGreaterThan(100)
    expect(Date.now() - begun).toBeLessThan(5000)
  })

  test('what was asked before is answered, and nothing is on disk that nobody was told of', async () => {
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
    const rows = inFile(join(harness.folder, 'rushes.db'), db =>
      db.prepare('select count(*) from predictions').pluck().get(),
    )
    expect(rows).toBe(40)
  })

  test('whoever comes while it drains is sent away to come back', async () => {
    await using harness = await startGateway()
    const talks: Talk[] = []
    for (let i = 0; i < 30; i++) talks.push(await talk(harness))
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
    for (const { closed } of talks) await closed
  })
})

describe('a peer that does not read', () => {
  /** Below the WebSocket: nothing is read from the kernel. */
  const raw = ({ socket }: Talk) => (socket as unknown as { _socket: Socket })._socket

  test('costs a budget and no queue, is served on when it wakes, and the others notice nothing', async () => {
    await using harness = await startGateway({
      env: { DATABASE_URL: 'file::memory:' },
      // Nothing is submitted: one event each.
      overrides: { simulator: { fault: () => ({ status: 401, body: '{"code":401,"message":"no"}' }) } },
    })
    const { store } = harness.gateway
    const app = (await store.appNamed('test'))!.id
    const query =
      'subscription { predictionFeed { ... on PredictionEvent { cursor prediction { metadata } } } }'
    const [stalled, live] = [await talk(harness), await talk(harness)]
    for (const { say, heard } of [stalled, live]) {
      say(subscribe('a', query))
      await until(() => heard.length === 2)
    }
    raw(stalled).pause()
    const before = bufferBytes()
    // More than the kernel takes.
    const [count, size] = [400, 100_000]
    for (let i = 0; i < count; i++) {
      await add(store, app, Date.now(), { metadata: `${i}`.padEnd(size, 'x') })
      await until(() => live.heard.length === i + 3)
    }
    expect(stalled.heard).toHaveLength(2)
    // What was freed is given back in the background.
    await until(() => bufferBytes() - before < (count * size) / 2)
    raw(stalled).resume()
    await until(() => stalled.heard.length === count + 2)
    expect(stalled.heard).toEqual(live.heard)
    for (const { socket, closed } of [stalled, live]) {
      socket.close()
      await closed
    }
  })

  test('can’t fill the process with answers either, to queries or to pings', async () => {
    await using harness = await startGateway({ env: { MAX_OPERATIONS_PER_SECOND: '1000000' } })
    const flood = await talk(harness)
    raw(flood).pause()
    const before = bufferBytes()
    const introspection = '{ __schema { types { name description fields { name description } } } }'
    for (let i = 0; i < 3000; i++) flood.say(subscribe(`${i}`, introspection))
    for (let i = 0; i < 20_000; i++) flood.socket.ping('x'.repeat(100))
    for (let i = 0; i < 20; i++) {
      expect((await harness.query('{ viewer { name } }')).data).toEqual({ viewer: { name: 'test' } })
      await until(() => bufferBytes() - before < 64 * 1024 * 1024)
    }
    flood.socket.terminate()
    await flood.closed
  })

  test('is asked for nothing more: what it asks meanwhile waits, and is answered when it reads', async () => {
    await using harness = await startGateway({ env: { MAX_OPERATIONS_PER_SECOND: '1000000' } })
    const { store } = harness.gateway
    const app = (await store.appNamed('test'))!.id
    await add(store, app, Date.now(), { metadata: 'x'.repeat(500_000) })
    const { list } = store
    let asked = 0
    store.list = async (...args) => {
      asked++
      return list(...args)
    }
    const slow = await talk(harness)
    raw(slow).pause()
    for (let i = 0; i < 100; i++)
      slow.say(subscribe(`${i}`, '{ predictions { edges { node { metadata } } } }'))
    let before = -1
    await until(async () => {
      const still = asked === before
      before = asked
      await harness.query('{ viewer { name } }')
      await new Promise(resolve => setTimeout(resolve, 100))
      return still && asked > 0
    })
    // What the kernel took, and one.
    expect(asked).toBeLessThan(50)
    raw(slow).resume()
    await until(() => slow.heard.filter(({ type }) => type === 'complete').length === 100)
    slow.socket.close()
    await slow.closed
  })

  test('for two intervals is ended, whichever its transport; one that is read lives', async () => {
    await using harness = await startGateway({ overrides: { heartbeatMs: 300 } })
    const [dead, live] = [await talk(harness), await talk(harness)]
    const [deadStream, liveStream] = [await stream(harness), await stream(harness)]
    for (const { say } of [dead, live]) say(subscribe('a'))
    raw(dead).pause()
    await until(() => harness.gateway && dead.heard.length > 0)
    await until(() => liveStream.text.split(':\n\n').length > 6)
    expect(live.socket.readyState).toBe(WebSocket.OPEN)
    raw(dead).resume()
    expect((await dead.closed)[0]).toBe(1006)
    expect(deadStream.text).toContain('FeedCaughtUp')
    live.socket.close()
    await live.closed
  })

  test('pings are answered, both kinds', async () => {
    await using harness = await startGateway({ overrides: { heartbeatMs: 100 } })
    const { socket, heard, say, closed } = await talk(harness)
    let pings = 0
    socket.on('ping', () => pings++)
    say({ type: 'ping', payload: { n: 1 } })
    await until(() => heard.find(message => message.type === 'pong'))
    socket.ping('x')
    const [data] = await once(socket, 'pong')
    expect(String(data)).toBe('x')
    await until(() => pings > 3)
    socket.close()
    await closed
  })
})

describe('server-sent events', () => {
  const EVENTS = `subscription ($after: String) { predictionFeed(after: $after) {
    __typename ... on PredictionEvent { cursor prediction { status } } ... on FeedCaughtUp { cursor } } }`

  test('carry the cursor as `id:`, and Last-Event-ID goes on right behind it, whatever `after` says', async () => {
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

test('an event stream that is slow when its key is revoked ends, and whatever happens then ends nobody', async () => {
  await using harness = await startGateway({
    env: { DATABASE_URL: 'file::memory:' },
    overrides: {
      patience: { keepAliveTimeout: 1000 },
      simulator: { fault: () => ({ status: 401, body: '{"code":401,"message":"no"}' }) },
    },
  })
  const { store } = harness.gateway
  const app = (await store.appNamed('test'))!.id
  const { port } = new URL(harness.gateway.url)
  const socket = connect(Number(port), '127.0.0.1')
  const query = 'subscription { predictionFeed { ... on PredictionEvent { prediction { metadata } } } }'
  const body = JSON.stringify({ query })
  const begun = new Promise<ServerResponse>(resolve => {
    const hear = (message: unknown) => {
      unsubscribe('http.server.request.start', hear)
      resolve((message as { response: ServerResponse }).response)
    }
    subscribeTo('http.server.request.start', hear)
  })
  socket.write(
    `POST /graphql HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${harness.key}\r\nContent-Type: application/json\r\nAccept: text/event-stream\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
  )
  await once(socket, 'readable')
  const response = await begun
  const grow = () => add(store, app, Date.now(), { metadata: 'x'.repeat(20_000) })
  // Slow, and not yet over its budget: it would be given the next one.
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

test.each(TRANSPORTS)('over %s a subscription that is given up is let go of', async transport => {
  await using harness = await startGateway()
  const feed = harness.subscribe(transport, FEED)
  await take(feed, 1)
  await feed.return?.()
  await submit(harness)
  expect(harness.log.filter(line => line.level === 'error')).toEqual([])
})
