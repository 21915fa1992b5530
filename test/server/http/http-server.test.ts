import { once } from 'node:events'
import { request } from 'node:http'
import { connect } from 'node:net'
import { describe, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { clocksFrom } from '../../support/clocks.ts'
import { type Harness, startGateway, submit, take } from '../../support/gateway.ts'
import { until } from '../../support/until.ts'

const TYPENAME = JSON.stringify({ query: '{ __typename }' })
const post = (harness: Harness, headers: Record<string, string>, body = TYPENAME) =>
  harness.fetch('/graphql', {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body,
  })

describe('authentication', () => {
  test.each([
    ['no key', {}],
    ['an unknown key', { authorization: `Bearer rsh_${'x'.repeat(40)}` }],
    ['a key of another form', { authorization: 'Bearer sk-123' }],
    ['another scheme', { authorization: 'Basic cnNoOng=' }],
  ])(
    'with %s every request gets the same 401, over POST, GET and SSE',
    async (_, headers: Record<string, string>) => {
      await using harness = await startGateway()
      const answers = [
        await post(harness, headers),
        await post(
          harness,
          { ...headers, accept: 'text/event-stream' },
          '{"query":"subscription { nonsense }"}',
        ),
        await post(harness, headers, 'not even JSON'),
        await harness.fetch('/graphql?query={nonsense}', { headers }),
      ]
      for (const answer of answers) {
        expect(answer.status).toBe(401)
        const { errors } = (await answer.json()) as { errors: object[] }
        expect(errors).toEqual([
          {
            message: 'A valid key is needed: Authorization: Bearer rsh_…',
            extensions: { code: 'UNAUTHENTICATED' },
          },
        ])
      }
    },
  )

  test('a known prefix with a wrong secret, and an expired key, get a 401', async () => {
    let ahead = 0
    await using harness = await startGateway({ overrides: { clocks: clocksFrom(() => Date.now() + ahead) } })
    const wrong = harness.key.slice(0, -1) + (harness.key.endsWith('A') ? 'B' : 'A')
    expect((await post(harness, { authorization: `Bearer ${wrong}` })).status).toBe(401)
    expect((await post(harness, { authorization: `Bearer ${harness.key}` })).status).toBe(200)
    ahead = 2 * 60 * 60 * 1000
    expect((await post(harness, { authorization: `Bearer ${harness.key}` })).status).toBe(401)
  })

  test('queries are accepted over GET, mutations are not', async () => {
    await using harness = await startGateway()
    const headers = { authorization: `Bearer ${harness.key}` }
    const read = await harness.fetch('/graphql?query={viewer{name}}', { headers })
    expect(await read.json()).toEqual({ data: { viewer: { name: 'test' } } })
    const write = await harness.fetch(
      `/graphql?query=${encodeURIComponent('mutation { submitVideo(input: {}) { __typename } }')}`,
      { headers },
    )
    expect(write.status).toBeGreaterThanOrEqual(400)
  })

  test.each(['variables=[', 'variables=%7B%22a%22', 'extensions=x'])(
    'parameters that are not JSON (%s) are rejected without the message of a parser',
    async parameters => {
      await using harness = await startGateway()
      const headers = { authorization: `Bearer ${harness.key}` }
      const answer = await harness.fetch(`/graphql?query={viewer{name}}&${parameters}`, { headers })
      expect([answer.status, await answer.json()]).toEqual([
        400,
        {
          errors: [{ message: 'variables, extensions: expected JSON', extensions: { code: 'BAD_ARGUMENT' } }],
        },
      ])
      expect(harness.log.filter(line => line.level === 'error')).toEqual([])
    },
  )

  test('a browser may call from an allowed origin, and not from another one', async () => {
    await using harness = await startGateway({ env: { ALLOWED_ORIGINS: 'https://app.example' } })
    const allowed = async (origin: string) => {
      const asked = {
        origin,
        'access-control-request-method': 'POST',
        'access-control-request-headers': 'authorization',
      }
      const preflight = await harness.fetch('/graphql', { method: 'OPTIONS', headers: asked })
      const rejected = await post(harness, { origin })
      return [preflight, rejected].map(answer => answer.headers.get('access-control-allow-origin'))
    }
    expect(await allowed('https://app.example')).toEqual(['https://app.example', 'https://app.example'])
    for (const header of await allowed('https://evil.example'))
      expect(header).not.toBe('https://evil.example')
  })
})

describe('a WebSocket', () => {
  async function open(harness: Harness, protocol: string[] = ['graphql-transport-ws']): Promise<WebSocket> {
    const socket = new WebSocket(harness.gateway.endpoint.replace('http', 'ws'), protocol)
    await once(socket, 'open')
    return socket
  }
  const closing = async (socket: WebSocket) => {
    const [code, reason] = await once(socket, 'close')
    return [code, String(reason)]
  }

  test.each([
    ['no payload', undefined],
    ['a wrong key', { authorization: `Bearer rsh_${'x'.repeat(40)}` }],
    ['a number as key', { authorization: 7 }],
  ])('whose connection_init has %s is closed with 4401', async (_, payload) => {
    await using harness = await startGateway()
    const socket = await open(harness)
    socket.send(JSON.stringify({ type: 'connection_init', payload }))
    expect(await closing(socket)).toEqual([4401, 'Unauthorized'])
  })

  test.each([
    ['no subprotocol', [], '', 4406],
    ['text that is not JSON', undefined, 'hello', 4400],
    [
      'a subscribe before connection_init',
      undefined,
      '{"type":"subscribe","id":"1","payload":{"query":"{ __typename }"}}',
      4401,
    ],
  ])('that sends %s is closed', async (_, protocol, message, code) => {
    await using harness = await startGateway()
    const socket = await open(harness, protocol)
    if (message) socket.send(message)
    expect((await closing(socket))[0]).toBe(code)
  })

  test('whose message is over 1 MiB is closed, and other clients are not affected', async () => {
    await using harness = await startGateway()
    const socket = await open(harness)
    const payload = { authorization: `Bearer ${harness.key}` }
    socket.send(JSON.stringify({ type: 'connection_init', payload }))
    await once(socket, 'message')
    socket.send('x'.repeat(1024 * 1024 + 1))
    expect((await closing(socket))[0]).toBe(1009)
    expect((await harness.query('{ viewer { name } }')).data.viewer.name).toBe('test')
  })

  test('runs queries too, and rejects an invalid document with one error', async () => {
    await using harness = await startGateway()
    const [query] = await take(harness.subscribe('WebSocket', '{ viewer { name } }'), 1)
    expect(query).toEqual({ data: { viewer: { name: 'test' } } })
    for (const document of ['{ nonsense }', '{ unclosed', 'query A { __typename } query B { __typename }']) {
      const failure = await harness
        .subscribe('WebSocket', document)
        .next()
        .catch(error => error)
      expect(failure).toMatchObject([{ message: expect.any(String) }])
    }
  })

  test('is closed with 1012 when the gateway stops', async () => {
    await using harness = await startGateway()
    const socket = await open(harness)
    const closed = closing(socket)
    await harness.gateway.close()
    expect(await closed).toEqual([1012, 'Service restart'])
  })

  test('on another path is rejected', async () => {
    await using harness = await startGateway()
    const socket = new WebSocket(
      `${harness.gateway.url.replace('http', 'ws')}/elsewhere`,
      'graphql-transport-ws',
    )
    const [error] = await once(socket, 'error')
    expect(error.message).toContain('404')
  })
})

test('an event stream ends without `complete` when the gateway stops, and says when to reconnect', async () => {
  await using harness = await startGateway()
  const id = await submit(harness, 'sim:seconds=30')
  const headers = { authorization: `Bearer ${harness.key}`, accept: 'text/event-stream' }
  const query = JSON.stringify({ query: `subscription { predictionUpdated(id: "${id}") { status } }` })
  const response = await post(harness, headers, query)
  let text = ''
  const read = (async () => {
    for await (const chunk of response.body!) text += Buffer.from(chunk)
  })()
  await until(() => text.includes('event: next'))
  await harness.gateway.close()
  await read
  expect(text).toMatch(/\nretry: \d{3,4}\n\n$/)
  expect(text).not.toContain('complete')
})

describe('health', () => {
  test('is live and ready, and shows an open submit circuit', async () => {
    let status = 0
    const fault = () => (status === 0 ? null : { status, body: '{"code":401,"message":"no"}' })
    await using harness = await startGateway({
      env: { MAX_CONNECTIONS: '100' },
      overrides: { simulator: { fault } },
    })
    expect(await (await harness.fetch('/health/live')).json()).toEqual({ status: 'live' })
    const ready = async () => (await harness.fetch('/health/ready')).json()
    expect(await ready()).toEqual({
      status: 'ready',
      database: 'ok',
      submits: { state: 'closed' },
      reads: 'on',
      maxConnections: 100,
    })
    status = 401
    await submit(harness)
    await until(async () => ((await ready()) as { submits: { state: string } }).submits.state === 'open')
    expect(await ready()).toMatchObject({ submits: { state: 'open', reason: 'account' } })
  })

  test('is not ready without its database', async () => {
    await using harness = await startGateway()
    harness.gateway.store.ping = async () => {
      throw new Error('gone')
    }
    const answer = await harness.fetch('/health/ready')
    expect([answer.status, await answer.json()]).toEqual([
      503,
      { status: 'unavailable', database: 'unavailable' },
    ])
  })
})

describe('/metrics', () => {
  const METRICS_TOKEN = 'a-token-of-some-length'

  test('has the metrics of the process, on loopback', async () => {
    await using harness = await startGateway()
    const text = await (await harness.fetch('/metrics')).text()
    expect(text).toMatch(/^process_resident_memory_bytes \d+/m)
    expect(text).toMatch(/^nodejs_eventloop_lag_p99_seconds /m)
  })

  test.each(['x-forwarded-for', 'forwarded', 'via', 'x-real-ip'])(
    'a request with %s came through a proxy and needs the token',
    async name => {
      await using harness = await startGateway({ env: { METRICS_TOKEN } })
      const headers: Record<string, string> = { [name]: '127.0.0.1' }
      expect((await harness.fetch('/metrics', { headers })).status).toBe(403)
      headers.authorization = 'Bearer a-token-of-some-lengtH'
      expect((await harness.fetch('/metrics', { headers })).status).toBe(403)
      headers.authorization = `Bearer ${METRICS_TOKEN}`
      expect((await harness.fetch('/metrics', { headers })).status).toBe(200)
    },
  )
})

test('any other path gets a 404 with a sentence, any other method a 405', async () => {
  await using harness = await startGateway()
  const elsewhere = await harness.fetch('/api/v1')
  expect([elsewhere.status, await elsewhere.text()]).toEqual([
    404,
    'There is nothing here. The dashboard is at /, the API at /graphql.\n',
  ])
  expect((await harness.fetch('/health/live', { method: 'DELETE' })).status).toBe(405)
})

test('a body over 1 MiB gets a 413', async () => {
  await using harness = await startGateway()
  const answer = await post(
    harness,
    { authorization: `Bearer ${harness.key}` },
    `{"query":"${'#'.repeat(1024 * 1024)}"}`,
  )
  expect(answer.status).toBe(413)
})

test('a form that is cut short logs no error', async () => {
  await using harness = await startGateway()
  const socket = connect(Number(new URL(harness.gateway.url).port), '127.0.0.1')
  socket.write(
    `POST /graphql HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${harness.key}\r\nContent-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nquery\r\nzz\r\n`,
  )
  for await (const _ of socket);
  expect((await harness.fetch('/health/live')).status).toBe(200)
  expect(harness.log.filter(line => line.level === 'error')).toEqual([])
})

test('a socket that is reset while its upgrade is rejected does not end the process', async () => {
  await using harness = await startGateway()
  const { port } = new URL(harness.gateway.url)
  for (let i = 0; i < 30; i++) {
    const socket = connect(Number(port), '127.0.0.1')
    await once(socket, 'connect')
    socket.write('GET /elsewhere HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n')
    if (i % 2) await once(socket, 'data')
    socket.resetAndDestroy()
    await once(socket, 'close')
  }
  expect((await harness.fetch('/health/live')).status).toBe(200)
})

test.each(['[', 'a b', '%', 'x:99999'])('a Host of %j gets a 400 without a stack', async host => {
  await using harness = await startGateway()
  const socket = connect(Number(new URL(harness.gateway.url).port), '127.0.0.1')
  socket.write(`POST /graphql HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`)
  let text = ''
  for await (const chunk of socket) text += chunk
  expect(text).toMatch(/^HTTP\/1.1 400 /)
  expect(text).not.toMatch(/ at |node_modules/)
})

describe('a document', () => {
  const ask = async (query: string) => {
    await using harness = await startGateway()
    const answer = await harness.query(query)
    expect(harness.log.filter(line => line.level === 'error')).toEqual([])
    return answer.errors?.[0]
  }

  test('that is too long, has too many tokens or is nested too deeply is rejected before it is parsed', async () => {
    expect(await ask(`{ __typename } #${'x'.repeat(70_000)}`)).toMatchObject({
      extensions: { code: 'BAD_ARGUMENT' },
    })
    for (const query of [
      `{ ${'__typename '.repeat(2100)} }`,
      `${'{a'.repeat(10_000)}${'}'.repeat(10_000)}`,
      `${'{a'.repeat(101)}${'}'.repeat(101)}`,
      `{ nodes(ids: ${'['.repeat(100)}`,
    ])
      expect(await ask(query)).toMatchObject({ extensions: { code: 'QUERY_TOO_COMPLEX' } })
    expect((await ask(`${'{a'.repeat(100)}${'}'.repeat(100)}`))?.message).toMatch(/Cannot query field/)
  })

  test('that is not JSON is rejected without the message of a parser', async () => {
    await using harness = await startGateway()
    const answer = await post(harness, { authorization: `Bearer ${harness.key}` }, '{"query": nonsense}')
    expect(await answer.json()).toEqual({
      errors: [{ message: 'POST body sent invalid JSON.', extensions: { code: 'BAD_REQUEST' } }],
    })
  })
})

test('a page whose host name resolves to loopback gets no metrics', async () => {
  await using harness = await startGateway()
  const { port, hostname } = new URL(harness.gateway.url)
  for (const headers of [{ host: `evil.example:${port}` }, { origin: 'http://evil.example' }]) {
    const asked = request({ hostname, port, path: '/metrics', agent: false, headers })
    asked.end()
    const [response] = await once(asked, 'response')
    expect(response.statusCode).toBe(403)
    response.resume()
  }
})
