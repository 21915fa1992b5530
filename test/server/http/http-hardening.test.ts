import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { describe, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { createClientNetworks } from '../../../src/server/http/client-network.ts'
import { createRateLimits } from '../../../src/server/limits/rate-limits.ts'
import { type Harness, startGateway, TRANSPORTS, take } from '../../support/gateway.ts'
import { mintToken } from '../../support/token.ts'
import { until } from '../../support/until.ts'

const TYPENAME = JSON.stringify({ query: '{ __typename }' })
const JSON_TYPE = { 'content-type': 'application/json' }
const WRONG = `Bearer rsh_${'x'.repeat(40)}`
const FEED = 'subscription { predictionFeed { __typename } }'

const post = (harness: Harness, headers: Record<string, string> = {}, body = TYPENAME) =>
  harness.fetch('/graphql', {
    method: 'POST',
    headers: { ...JSON_TYPE, authorization: `Bearer ${harness.key}`, ...headers },
    body,
  })

const openSocket = (harness: Harness, headers: Record<string, string> = {}) =>
  new WebSocket(harness.gateway.endpoint.replace('http', 'ws'), 'graphql-transport-ws', { headers })

/** Status and Retry-After of a rejected upgrade. */
async function upgradeRejection(
  socket: WebSocket,
): Promise<{ status: number | undefined; retryAfter: unknown }> {
  const [request, response] = await once(socket, 'unexpected-response')
  request.destroy()
  return { status: response.statusCode, retryAfter: response.headers['retry-after'] }
}

const openConnection = (harness: Harness): Socket =>
  connect(Number(new URL(harness.gateway.url).port), '127.0.0.1')
async function readUntilClosed(socket: Socket): Promise<string> {
  let text = ''
  socket.on('data', chunk => {
    text += chunk
  })
  socket.on('error', () => {})
  if (!socket.closed) await once(socket, 'close')
  return text
}

describe('a forged request', () => {
  test.each([
    ['a form', 'POST', 'application/x-www-form-urlencoded', 'query={nonsense}'],
    ['text', 'POST', 'text/plain', TYPENAME],
    ['a file', 'POST', 'multipart/form-data; boundary=x', '--x--'],
    ['JSON', 'POST', 'application/json', TYPENAME],
    ['an image', 'GET', '', undefined],
    ['another method', 'DELETE', 'application/json', TYPENAME],
    ['a preflight', 'OPTIONS', '', undefined],
    ['a megabyte', 'POST', 'application/json', 'x'.repeat(3_000_000)],
    ['a batch', 'POST', 'application/json', `[${TYPENAME}]`],
  ])(
    'of %s gets the same 401 as any request without a key, whatever its cookies',
    async (_, method, type, body) => {
      await using harness = await startGateway()
      const headers = { ...(type && { 'content-type': type }), cookie: `authorization=Bearer ${harness.key}` }
      const answer = await harness.fetch('/graphql?query={__typename}', {
        method,
        headers,
        body: body ?? null,
      })
      expect(answer.status).toBe(401)
      expect(await answer.json()).toEqual({
        errors: [expect.objectContaining({ extensions: { code: 'UNAUTHENTICATED' } })],
      })
      expect(answer.headers.get('set-cookie')).toBeNull()
    },
  )

  test('is answered before its body has arrived', async () => {
    await using harness = await startGateway()
    const socket = openConnection(harness)
    socket.write(
      'POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{',
    )
    expect(String((await once(socket, 'data'))[0])).toMatch(/^HTTP\/1.1 401 /)
    socket.destroy()
  })
})

test('a mutation by GET and a batch are rejected even with a valid key', async () => {
  await using harness = await startGateway()
  const headers = { authorization: `Bearer ${harness.key}` }
  const get = await harness.fetch('/graphql?query=mutation{__typename}', { headers })
  expect(get.status).toBe(405)
  const batch = await post(harness, {}, `[${TYPENAME},${TYPENAME}]`)
  expect([batch.status, JSON.stringify(await batch.json())]).toEqual([
    400,
    expect.stringContaining('Batching'),
  ])
})

describe('another origin', () => {
  const ALLOWED_ORIGINS = 'https://app.example'

  test('that is allowed may send requests, needs no key for the preflight, and can read every response', async () => {
    await using harness = await startGateway({ env: { ALLOWED_ORIGINS, MAX_MESSAGE_BYTES: '1024' } })
    const preflight = (origin: string) =>
      harness.fetch('/graphql', {
        method: 'OPTIONS',
        headers: {
          origin,
          'access-control-request-method': 'POST',
          'access-control-request-headers': 'authorization,content-type',
        },
      })
    const allowed = await preflight(ALLOWED_ORIGINS)
    expect([allowed.status, allowed.headers.get('access-control-allow-headers')]).toEqual([
      204,
      'authorization,content-type',
    ])
    const other = await preflight('https://evil.example')
    expect(other.status).toBe(401)
    expect([...other.headers.keys()].filter(name => name.startsWith('access-control'))).toEqual([])

    const origin = { origin: ALLOWED_ORIGINS }
    for (const [status, headers, body] of [
      [200, {}, TYPENAME],
      [401, { authorization: WRONG }, TYPENAME],
      [400, {}, 'x'],
      [413, {}, 'x'.repeat(2000)],
    ] as const) {
      const answer = await post(harness, { ...origin, ...headers }, body)
      expect([answer.status, answer.headers.get('access-control-allow-origin')]).toEqual([
        status,
        ALLOWED_ORIGINS,
      ])
      expect(
        (await post(harness, { origin: 'https://evil.example' }, body)).headers.has(
          'access-control-allow-origin',
        ),
      ).toBe(false)
    }
  })

  test('may open a WebSocket only if it is allowed; the own origin and clients without an origin may', async () => {
    await using harness = await startGateway({ env: { ALLOWED_ORIGINS } })
    for (const origin of ['https://evil.example', 'null', 'nonsense'])
      expect((await upgradeRejection(openSocket(harness, { origin }))).status).toBe(403)
    for (const headers of [{}, { origin: ALLOWED_ORIGINS }, { origin: harness.gateway.url }]) {
      const socket = openSocket(harness, headers as Record<string, string>)
      await once(socket, 'open')
      socket.close()
      await once(socket, 'close')
    }
  })
})

test.each(['/graphql', '/health/live', '/health/ready', '/metrics', '/webhooks/wavespeed', '/elsewhere'])(
  '%s does not name its software, and must not be framed, sniffed or stored',
  async path => {
    await using harness = await startGateway({ env: { PUBLIC_URL: 'https://rushes.example' } })
    const { headers } = await harness.fetch(path)
    expect(Object.fromEntries(headers)).toMatchObject({
      'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
      'x-content-type-options': 'nosniff',
      'x-frame-options': 'DENY',
      'referrer-policy': 'no-referrer',
      'cache-control': 'no-store',
      'strict-transport-security': 'max-age=31536000',
    })
    expect([headers.get('x-powered-by'), headers.get('server')]).toEqual([null, null])
  },
)

describe('a slow client', () => {
  const timeouts = { headersTimeout: 200, requestTimeout: 400, connectionsCheckingInterval: 50 }

  test.each([
    ['nothing', ''],
    ['half of the headers', 'POST /graphql HTTP/1.1\r\nHost: x\r\n'],
    [
      'half a body',
      'POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: Bearer KEY\r\nContent-Length: 1000\r\n\r\n{',
    ],
  ])('that sends %s is disconnected, and logs no error', async (_, text) => {
    await using harness = await startGateway({ overrides: { httpTimeouts: timeouts } })
    const socket = openConnection(harness)
    socket.write(text.replace('KEY', harness.key))
    expect(await readUntilClosed(socket)).toMatch(/^(HTTP\/1.1 408 |$)/)
    expect(harness.log.filter(({ level }) => level === 'error')).toEqual([])
  })

  test.each(TRANSPORTS)('over %s that only listens stays connected', async transport => {
    await using harness = await startGateway({
      overrides: { httpTimeouts: { ...timeouts, keepAliveTimeout: 100 } },
    })
    const feed = harness.subscribe(transport, FEED)
    await take(feed, 1)
    const other = openConnection(harness)
    await readUntilClosed(other)
    const next = feed.next()
    const again = openConnection(harness)
    await readUntilClosed(again)
    await harness.query(
      `mutation { submitVideo(input: { image: { url: "https://images.example/a.png" }, prompt: "x" }) { __typename } }`,
    )
    expect((await next).value.data.predictionFeed.__typename).toBe('PredictionEvent')
    await feed.return?.()
  })

  test('that never sends connection_init is closed with 4408', async () => {
    await using harness = await startGateway({ overrides: { initTimeoutMs: 100 } })
    const socket = openSocket(harness)
    expect((await once(socket, 'close'))[0]).toBe(4408)
  })

  test('that sends too much before it is authenticated is disconnected', async () => {
    await using harness = await startGateway({ overrides: { initTimeoutMs: 60_000 } })
    for (const flood of [
      (socket: WebSocket) => socket.send('x'.repeat(17_000)),
      (socket: WebSocket) => {
        for (let i = 0; i < 3000; i++) socket.ping()
      },
    ]) {
      const socket = openSocket(harness)
      socket.on('error', () => {})
      await once(socket, 'open')
      flood(socket)
      expect((await once(socket, 'close'))[0]).toBe(1006)
    }
  })

  test('that sends messages without end is read at a limited rate', async () => {
    await using harness = await startGateway({ env: { MAX_OPERATIONS_PER_SECOND: '200' } })
    const socket = openSocket(harness)
    await once(socket, 'open')
    let pongs = 0
    socket.on('pong', () => pongs++)
    const payload = { authorization: `Bearer ${harness.key}` }
    socket.send(JSON.stringify({ type: 'connection_init', payload }))
    await once(socket, 'message')
    const begun = Date.now()
    for (let i = 0; i < 5000; i++) socket.ping('x'.repeat(100))
    // 500 messages a second are read, plus the rest of one socket read.
    await until(() => pongs > 2500)
    expect(Date.now() - begun).toBeGreaterThan(1000)
    socket.terminate()
    await once(socket, 'close')
  })
})

describe('connections per client address', () => {
  test.each(['MAX_CONNECTIONS', 'MAX_CONNECTIONS_PER_ADDRESS'])('above %s are rejected', async name => {
    await using harness = await startGateway({ env: { [name]: '2' } })
    const two = [openConnection(harness), openConnection(harness)]
    for (const socket of two) {
      socket.write('GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n')
      expect(String((await once(socket, 'data'))[0])).toMatch(/ 200 /)
    }
    const third = openConnection(harness)
    expect(await readUntilClosed(third)).toBe('')
    two[0]!.destroy()
    await until(async () => {
      const answer = await harness.fetch('/health/live').catch(() => null)
      return answer?.status === 200
    })
    two[1]!.destroy()
  })

  test('are counted by client behind a trusted proxy', async () => {
    const env = { TRUSTED_PROXIES: 'loopback', MAX_CONNECTIONS_PER_ADDRESS: '1' }
    await using harness = await startGateway({ env })
    const first = openSocket(harness, { 'x-forwarded-for': '198.51.100.1' })
    await once(first, 'open')
    expect(await upgradeRejection(openSocket(harness, { 'x-forwarded-for': '198.51.100.1' }))).toEqual({
      status: 429,
      retryAfter: '1',
    })
    expect((await post(harness, { 'x-forwarded-for': '198.51.100.1' })).status).toBe(429)
    expect((await post(harness, { 'x-forwarded-for': '198.51.100.2' })).status).toBe(200)
    first.close()
    await once(first, 'close')
  })
})

describe('pipelined requests', () => {
  const head = (harness: Harness) =>
    `POST /graphql HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${harness.key}\r\nContent-Type: application/json\r\n`
  const toRequest = (harness: Harness, query: string, headers = '') => {
    const body = JSON.stringify({ query })
    return `${head(harness)}${headers}Content-Length: ${body.length}\r\n\r\n${body}`
  }
  const open = (harness: Harness) => {
    const socket = connect(Number(new URL(harness.gateway.url).port), '127.0.0.1')
    const connection = { socket, text: '', closed: once(socket, 'close') }
    socket.on('data', data => (connection.text += data)).on('error', () => {})
    return connection
  }
  const answers = (text: string) => [...text.matchAll(/\{"data":\{"(a\d+)"/g)].map(([, name]) => name)

  test('are answered in their order, however often a connection is used', async () => {
    await using harness = await startGateway()
    const connection = open(harness)
    const { socket, closed } = connection
    const names: string[] = []
    for (let round = 0; round < 15; round++) {
      const requests = Array.from({ length: 20 }, (_, i) => `a${round * 20 + i}`)
      names.push(...requests)
      socket.write(requests.map(name => toRequest(harness, `{ ${name}: __typename }`)).join(''))
      await until(() => answers(connection.text).length === names.length)
    }
    expect(answers(connection.text)).toEqual(names)
    socket.destroy()
    await closed
  })

  test('above 32 are not started: the connection closes after the responses before them', async () => {
    await using harness = await startGateway()
    const connection = open(harness)
    const requests = Array.from({ length: 100 }, (_, i) => toRequest(harness, `{ a${i}: __typename }`))
    connection.socket.write(requests.join(''))
    await connection.closed
    expect(answers(connection.text)).toEqual(Array.from({ length: 33 }, (_, i) => `a${i}`))
    expect(connection.text.match(/connection: close/gi)).toHaveLength(1)
  })

  test('above a thousand of all connections close the connection that sends one more', async () => {
    await using harness = await startGateway()
    const feed = toRequest(
      harness,
      'subscription { predictionFeed { __typename } }',
      'Accept: text/event-stream\r\n',
    )
    const waiting = toRequest(harness, '{ __typename }').repeat(32)
    const connections = Array.from({ length: 32 }, () => open(harness))
    for (const { socket } of connections) socket.write(feed + waiting)
    const isClosed = await Promise.race([...connections.map(({ closed }) => closed)]).then(() => true)
    expect(isClosed).toBe(true)
    await until(async () => connections.filter(({ socket }) => !socket.destroyed).length === 31)
    expect(await harness.query('{ __typename }')).toEqual({ data: { __typename: 'Query' } })
    for (const { socket } of connections) socket.destroy()
    await Promise.all(connections.map(({ closed }) => closed))
  })

  test('a token may have a hundred requests under way; event streams do not count', async () => {
    await using harness = await startGateway()
    const token = await mintToken(harness)
    const withToken = (text: string) => text.replace(harness.key, token)
    const stream = withToken(
      toRequest(harness, 'subscription { predictionFeed { __typename } }', 'Accept: text/event-stream\r\n'),
    )
    const streams = Array.from({ length: 3 }, () => open(harness))
    for (const { socket } of streams) socket.write(stream)
    await until(() => streams.every(({ text }) => text.includes('FeedCaughtUp')))
    // The body of each is missing.
    const unfinished = Array.from({ length: 100 }, () => open(harness))
    for (const { socket } of unfinished) socket.write(withToken(`${head(harness)}Content-Length: 9\r\n\r\n`))
    await until(async () => (await harness.query('{ __typename }', {}, token)).errors !== undefined)
    expect(await harness.query('{ __typename }', {}, token)).toMatchObject({
      errors: [{ extensions: { code: 'RATE_LIMITED' } }],
    })
    expect(await harness.query('{ __typename }')).toEqual({ data: { __typename: 'Query' } })
    for (const { socket } of unfinished) socket.destroy()
    await until(async () => (await harness.query('{ __typename }', {}, token)).data !== undefined)
    for (const { socket } of streams) socket.destroy()
    await Promise.all([...streams, ...unfinished].map(({ closed }) => closed))
  })
})

describe('rate limits', () => {
  test('an address above its rate gets a 429 before its key is checked, and no upgrade', async () => {
    await using harness = await startGateway({ env: { MAX_REQUESTS_PER_MINUTE_PER_ADDRESS: '2' } })
    expect((await post(harness)).status).toBe(200)
    expect((await post(harness, { authorization: WRONG })).status).toBe(401)
    const slowed = await post(harness, { authorization: WRONG })
    expect(slowed.status).toBe(429)
    expect(Number(slowed.headers.get('retry-after'))).toBeGreaterThan(50)
    expect(await slowed.json()).toEqual({
      errors: [
        {
          message: 'Too many requests within a minute.',
          extensions: { code: 'RATE_LIMITED', retryAfterMs: expect.any(Number) },
        },
      ],
    })
    expect((await upgradeRejection(openSocket(harness))).status).toBe(429)
    for (const path of ['/health/live', '/metrics']) expect((await harness.fetch(path)).status).toBe(200)
  })

  test('a key above its rate is limited on every transport; other keys are not', async () => {
    await using harness = await startGateway({ env: { MAX_REQUESTS_PER_MINUTE_PER_KEY: '2' } })
    const failure = await harness
      .subscribe('WebSocket', '{ viewer { id } }')
      .next()
      .then(() => harness.subscribe('WebSocket', '{ viewer { id } }').next())
      .catch(error => error)
    expect(failure).toMatchObject({ code: 1013 })
    const slowed = await post(harness)
    expect([slowed.status, Number(slowed.headers.get('retry-after')) > 50]).toEqual([429, true])
    const other = await harness.gateway.issueKey('other', 60_000)
    expect((await post(harness, { authorization: `Bearer ${other}` })).status).toBe(200)
  })

  test('invalid keys are delayed; known valid keys and requests without a key are not', async () => {
    await using harness = await startGateway({ env: { MAX_WRONG_KEYS_PER_MINUTE: '3' } })
    const fresh = await harness.gateway.issueKey('other', 60_000)
    expect((await post(harness)).status).toBe(200)
    for (const authorization of [WRONG, 'Basic cnNoOng=', 'Bearer sk-123'])
      expect((await post(harness, { authorization })).status).toBe(401)
    const timed = async (headers?: Record<string, string>) => {
      const begun = performance.now()
      const { status } = await post(harness, headers)
      return [status, performance.now() - begun > 990]
    }
    expect(await timed({ authorization: WRONG })).toEqual([401, true])
    // A valid key that is not cached yet is delayed with its network.
    expect(await timed({ authorization: `Bearer ${fresh}` })).toEqual([200, true])
    expect(await timed({ authorization: `Bearer ${fresh}` })).toEqual([200, false])
    expect(await timed()).toEqual([200, false])
    expect((await harness.fetch('/graphql')).status).toBe(401)
    const metrics = await (await harness.fetch('/metrics')).text()
    expect(metrics).toContain('rushes_invalid_credentials_total 4')
  })

  test('more than a hundred delayed lookups at once from one address are rejected', async () => {
    const rates = createRateLimits({
      maxRequestsPerMinutePerAddress: 1,
      maxRequestsPerMinutePerKey: 1,
      maxWrongKeysPerMinute: 1,
      maxUploadsPerMinutePerApp: 1,
      delayMs: 200,
    })
    rates.invalidCredentials.record('10.0.0.1')
    const slowed = await Promise.all(
      Array.from({ length: 110 }, () => rates.invalidCredentials.delay('10.0.0.1')),
    )
    expect(slowed.filter(ms => ms !== null)).toHaveLength(10)
    expect(await rates.invalidCredentials.delay('10.0.0.1')).toBeNull()
    expect(await rates.invalidCredentials.delay('10.0.0.2')).toBeNull()
  })

  test('a token may send a tenth of the requests of its key', async () => {
    const rates = createRateLimits({
      maxRequestsPerMinutePerAddress: 1,
      maxRequestsPerMinutePerKey: 20,
      maxWrongKeysPerMinute: 1,
      maxUploadsPerMinutePerApp: 1,
    })
    const token = {
      keyPrefix: 'k',
      credentialHash: 't',
      grant: { tokenId: 't', tags: [], maxSubmits: 0 },
    }
    const ask = (caller: Parameters<typeof rates.consumeCaller>[0]) => rates.consumeCaller(caller)
    for (let i = 0; i < 2; i++) expect(await ask(token)).toBeNull()
    expect(await ask(token)).toBeGreaterThan(0)
    for (let i = 0; i < 18; i++)
      expect(await ask({ keyPrefix: 'k', credentialHash: 'k', grant: null })).toBeNull()
    expect(await ask({ keyPrefix: 'k', credentialHash: 'k', grant: null })).toBeGreaterThan(0)
  })

  test('an IPv6 client is counted by its /64; above maxNetworks a larger prefix counts as one', async () => {
    const networkOf = (remoteAddress: string) => createClientNetworks([]).ofSocket({ remoteAddress })
    expect(networkOf('2001:db8::1')).toBe(networkOf('2001:db8:0:0:ffff::2'))
    expect(networkOf('2001:db8::1')).not.toBe(networkOf('2001:db8:0:1::1'))
    const rates = createRateLimits({
      maxRequestsPerMinutePerAddress: 2,
      maxRequestsPerMinutePerKey: 1,
      maxWrongKeysPerMinute: 1,
      maxUploadsPerMinutePerApp: 1,
      maxNetworks: 10,
    })
    for (let i = 0; i < 10; i++) expect(await rates.consumeNetwork(`10.0.0.${i}`)).toBeNull()
    for (let i = 0; i < 2; i++) expect(await rates.consumeNetwork(`10.0.1.${i}`)).toBeNull()
    expect(await rates.consumeNetwork('10.0.2.0')).toBeGreaterThan(0)
    expect(await rates.consumeNetwork('10.0.0.1')).toBeNull()
    expect(await rates.consumeNetwork('11.0.0.1')).toBeNull()
  })
})

test.each([
  ['from an untrusted address', [], '10.0.0.1', '1.2.3.4', '10.0.0.1'],
  ['from a proxy', ['10.0.0.0/8'], '::ffff:10.0.0.1', '1.2.3.4', '1.2.3.4'],
  ['from two proxies', ['10.0.0.0/8'], '10.0.0.1', '9.9.9.9, 1.2.3.4, 10.0.0.2', '1.2.3.4'],
  ['with a port', ['loopback'], '127.0.0.1', '1.2.3.4:567', '1.2.3.4'],
  ['of IPv6 with a port', ['loopback'], '::1', '[2001:db8::1]:567', '2001:db8:0:0'],
  ['that is not an address', ['loopback'], '127.0.0.1', 'unknown', '127.0.0.1'],
])('X-Forwarded-For %s', (_, trusted, remoteAddress, header, network) => {
  const request = { socket: { remoteAddress }, headers: { 'x-forwarded-for': header } }
  const client = createClientNetworks(trusted).resolve(request as never)
  expect(client).toEqual({ network, isForwarded: trusted.length > 0 })
})
