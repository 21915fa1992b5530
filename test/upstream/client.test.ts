import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import { createServer as createTcpServer, type Socket } from 'node:net'
import { text } from 'node:stream/consumers'
import { brotliCompressSync, deflateSync, gzipSync, zstdCompressSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { MODELS } from '../../src/domain/models.ts'
import type { Input } from '../../src/domain/prediction.ts'
import { createUpstream, type UpstreamOptions } from '../../src/upstream/client.ts'
import { selfSigned } from '../support/certificate.ts'
import { createTestClocks } from '../support/clocks.ts'
import { listen } from '../support/loopback.ts'
import { until } from '../support/until.ts'

const KEY = 'wsk-0123456789'
const ID = '45b392b22c3b449fa935bd4dc2219dfe'
const MODEL = MODELS.WAN_2_2_I2V_PLUS_1080P.upstreamId
const INPUT: Input = {
  imageUrl: 'https://images.example/cat.png?a=1&b=%2F',
  prompt: 'a slow pan, “quoted” and ünïcode',
  negativePrompt: null,
  duration: 5,
  enablePromptExpansion: false,
  seed: -1,
}

interface ReceivedRequest {
  method: string | undefined
  url: string | undefined
  headers: IncomingHttpHeaders
  body: string
}
type Reply = (response: ServerResponse, request: IncomingMessage) => void

/** A server that answers each request with `reply`, once it was read to its end. */
async function serve(reply: Reply) {
  const requests: ReceivedRequest[] = []
  let connections = 0
  const server = createServer(async (request, response) => {
    const { method, url, headers } = request
    requests.push({ method, url, headers, body: await text(request) })
    reply(response, request)
  })
  server.on('connection', () => connections++)
  return { ...(await listen(server)), requests, connections: () => connections }
}

/** Longer than any test that does not set them. */
const DEFAULTS = { clocks: createTestClocks(), submitTimeoutMs: 60_000, readTimeoutMs: 15_000 }

function connect(baseUrl: string, options: Partial<UpstreamOptions> = {}) {
  const upstream = createUpstream({ baseUrl, apiKey: KEY, ...DEFAULTS, ...options })
  return { ...upstream, [Symbol.asyncDispose]: upstream.close }
}

const CHILD_TIMEOUT_MS = 1000
/** A process of its own that submits once. `full`: it has no free descriptor. */
function startSubmit(baseUrl: string, descriptors: 'full' | 'free' = 'free') {
  const script = new URL('./submit-process.ts', import.meta.url).pathname
  const options = {
    baseUrl,
    apiKey: KEY,
    submitTimeoutMs: CHILD_TIMEOUT_MS,
    readTimeoutMs: 1000,
    descriptors,
  }
  const child = spawn(
    'sh',
    ['-c', 'ulimit -n 256; exec "$0" "$@"', process.execPath, script, JSON.stringify(options)],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  )
  const exited = once(child, 'exit')
  let stoppedAt = 0
  return {
    stop() {
      child.kill('SIGSTOP')
      stoppedAt = performance.now()
    },
    stoppedMs: () => performance.now() - stoppedAt,
    continue: () => void child.kill('SIGCONT'),
    outcome: async () => JSON.parse(await text(child.stdout)),
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL')
      await exited
    },
  }
}

const never = new AbortController().signal
const json =
  (status: number, body: unknown, headers: Record<string, string> = {}): Reply =>
  response =>
    void response
      .writeHead(status, { 'content-type': 'application/json', ...headers })
      .end(JSON.stringify(body))
const success = (data: unknown) => json(200, { code: 200, message: 'success', data })
const accepts = success({ id: ID, status: 'created', outputs: [] })
const prediction = (fields: object = {}) => success({ id: ID, status: 'processing', outputs: [], ...fields })

describe('a submit', () => {
  test('is one POST to the raw path of its model, with the key and the flat body', async () => {
    await using server = await serve(accepts)
    await using upstream = connect(server.origin)
    expect(await upstream.submit(MODEL, INPUT, never)).toEqual({ kind: 'accepted', upstreamId: ID })
    expect(server.requests).toHaveLength(1)
    const [{ method, url, headers, body }] = server.requests as [ReceivedRequest]
    expect([method, url]).toEqual(['POST', '/api/v3/alibaba/wan-2.2/i2v-plus-1080p'])
    expect(headers).toMatchObject({
      authorization: `Bearer ${KEY}`,
      'content-type': 'application/json',
      host: new URL(server.origin).host,
    })
    expect(JSON.parse(body)).toEqual({
      image: INPUT.imageUrl,
      prompt: INPUT.prompt,
      duration: 5,
      enable_prompt_expansion: false,
      seed: -1,
    })
  })

  test('sends every parameter under its documented key', async () => {
    await using server = await serve(accepts)
    await using upstream = connect(server.origin)
    const input = { ...INPUT, negativePrompt: 'blur', enablePromptExpansion: true, seed: 2_147_483_647 }
    await upstream.submit(MODELS.WAN_2_2_I2V_PLUS_480P.upstreamId, input, never)
    expect(server.requests[0]?.url).toBe('/api/v3/alibaba/wan-2.2/i2v-plus-480p')
    expect(JSON.parse(server.requests[0]!.body)).toEqual({
      image: INPUT.imageUrl,
      prompt: INPUT.prompt,
      negative_prompt: 'blur',
      duration: 5,
      enable_prompt_expansion: true,
      seed: 2_147_483_647,
    })
  })

  test('passes the webhook URL, fully encoded', async () => {
    await using server = await serve(accepts)
    await using upstream = connect(server.origin)
    const webhook = 'https://rushes.example/webhooks/wavespeed?p=a.b-c_d'
    await upstream.submit(MODEL, INPUT, never, webhook)
    await upstream.submit(MODEL, INPUT, never, null)
    const [withWebhook, plain] = server.requests.map(request => new URL(request.url!, server.origin))
    expect([...withWebhook!.searchParams]).toEqual([['webhook', webhook]])
    expect(plain!.search).toBe('')
  })

  test('has its own connection, and leaves none open', async () => {
    await using server = await serve((response, request) =>
      (request.method === 'GET' ? prediction() : accepts)(response, request),
    )
    await using upstream = connect(server.origin)
    await upstream.getResult(ID, never)
    await upstream.submit(MODEL, INPUT, never)
    await upstream.submit(MODEL, INPUT, never)
    await Promise.all([1, 2, 3].map(() => upstream.submit(MODEL, INPUT, never)))
    expect(server.connections()).toBe(6)
    const posts = server.requests.filter(request => request.method === 'POST')
    expect(posts.map(request => request.headers.connection)).toEqual(Array(5).fill('close'))
  })

  test.each<[title: string, reply: Reply]>([
    ['resets the connection', (_, request) => void request.socket.resetAndDestroy()],
    ['ends the connection', (_, request) => void request.socket.end()],
    [
      'breaks off in the midst of the headers',
      (_, request) => void request.socket.end('HTTP/1.1 200 OK\r\nco'),
    ],
    [
      'breaks off in the midst of the body',
      (_, request) =>
        void request.socket.end(
          `HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{"code":200,"data":{"id":"${ID}"`,
        ),
    ],
    ['talks no HTTP', (_, request) => void request.socket.end('hello\r\n\r\n')],
    ['answers without end', (response: ServerResponse) => void response.end(`"${'x'.repeat(5_000_000)}"`)],
    ['answers 500', json(500, { code: 500, message: 'server error', data: null })],
    ['answers 502 with HTML', response => void response.writeHead(502).end('<html>')],
    ['answers 503 and asks to come again', json(503, {}, { 'retry-after': '0' })],
    ['accepts without an id', success({ status: 'created' })],
  ])('is sent once to a server that reads it and %s, and its outcome is unknown', async (_, reply) => {
    await using server = await serve(reply)
    await using upstream = connect(server.origin)
    expect(await upstream.submit(MODEL, INPUT, never)).toEqual({ kind: 'unknown' })
    // The second request proves that nothing of the first comes after it.
    expect(await upstream.submit(MODEL, { ...INPUT, seed: 7 }, never)).toEqual({ kind: 'unknown' })
    expect(server.requests.map(request => JSON.parse(request.body).seed)).toEqual([-1, 7])
    expect(server.connections()).toBe(2)
  })

  test('that is not answered in time has an unknown outcome, and is sent once', async () => {
    await using server = await serve(() => {})
    await using upstream = connect(server.origin, { submitTimeoutMs: 200 })
    const start = Date.now()
    expect(await upstream.submit(MODEL, INPUT, never)).toEqual({ kind: 'unknown' })
    expect(Date.now() - start).toBeGreaterThanOrEqual(190)
    expect(server.requests).toHaveLength(1)
  })

  test('with an answer that does not end in time has an unknown outcome', async () => {
    await using server = await serve(response => void response.writeHead(200).write('{"code": 200,'))
    await using upstream = connect(server.origin, { submitTimeoutMs: 200 })
    expect(await upstream.submit(MODEL, INPUT, never)).toEqual({ kind: 'unknown' })
    expect(server.requests).toHaveLength(1)
  })

  test.each([
    ['127.0.0.1', 'one address'],
    ['localhost', 'all addresses of a name'],
  ])('to %s where nothing listens is unsent: %s refused it', async host => {
    const gone = await serve(accepts)
    await gone[Symbol.asyncDispose]()
    await using upstream = connect(gone.origin.replace('127.0.0.1', host))
    expect(await upstream.submit(MODEL, INPUT, never)).toEqual({ kind: 'unsent' })
    expect(await upstream.getResult(ID, never)).toEqual({
      observation: null,
      status: null,
      retryAfterMs: null,
    })
    expect(await upstream.probe(never)).toBe(false)
  })

  /** What the other end of a TCP connection does in place of a TLS handshake. */
  const HANDSHAKES: [title: string, onConnection: (socket: Socket) => void][] = [
    ['ends', socket => socket.end()],
    ['resets the connection', socket => socket.once('data', () => socket.resetAndDestroy())],
    ['answers in plain HTTP', socket => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n')],
    // A TLS alert: fatal, handshake failure.
    ['refuses the handshake', socket => socket.end(Buffer.from('15030300020228', 'hex'))],
    ['says nothing until the time is over', () => {}],
  ]
  test.each(HANDSHAKES)('over TLS to a server that %s is unsent', async (_, onConnection) => {
    await using server = await listen(
      createTcpServer(socket => {
        socket.on('error', () => {}).resume()
        onConnection(socket)
      }),
    )
    await using upstream = connect(`https://127.0.0.1:${server.port}`, { submitTimeoutMs: 500 })
    expect(await upstream.submit(MODEL, INPUT, never)).toEqual({ kind: 'unsent' })
  })

  test.each(['localhost', 'another.example'])(
    'over TLS with an untrusted certificate of %s is unsent',
    async host => {
      const requests: string[] = []
      await using server = await listen(
        createTlsServer(selfSigned(host), request => void requests.push(request.url ?? '')),
      )
      await using upstream = connect(`https://localhost:${server.port}`)
      expect(await upstream.submit(MODEL, INPUT, never)).toEqual({ kind: 'unsent' })
      expect(requests).toEqual([])
    },
  )

  test('without a descriptor to connect with is unsent', async () => {
    await using server = await serve(accepts)
    await using child = startSubmit(server.origin, 'full')
    expect(await child.outcome()).toEqual({ kind: 'unsent' })
    expect(server.requests).toEqual([])
  })

  test('whose connection is established long after is unsent: the machine has slept meanwhile', async () => {
    const clocks = createTestClocks()
    await using server = await serve(accepts)
    await using upstream = connect(server.origin, { clocks })
    const outcome = upstream.submit(MODEL, INPUT, never)
    clocks.sleep(31_000)
    expect(await outcome).toEqual({ kind: 'unsent' })
    expect(server.requests).toEqual([])
  })

  test('whose answer came while the process was stopped is accepted, though its time is over', async () => {
    const replies: (() => void)[] = []
    await using server = await serve((...reply) => void replies.push(() => accepts(...reply)))
    await using child = startSubmit(server.origin)
    await until(() => replies.length === 1)
    child.stop()
    replies[0]!()
    // Longer than the child's time-out.
    await until(() => child.stoppedMs() > 2 * CHILD_TIMEOUT_MS)
    child.continue()
    expect(await child.outcome()).toEqual({ kind: 'accepted', upstreamId: ID })
  })

  test('that is rejected with Retry-After reports how long to wait', async () => {
    await using server = await serve(json(429, { code: 429 }, { 'retry-after': '7' }))
    await using upstream = connect(server.origin)
    expect(await upstream.submit(MODEL, INPUT, never)).toEqual({ kind: 'throttled', retryAfterMs: 7000 })
  })

  test('reads a date in Retry-After by its own clock', async () => {
    const now = Date.parse('2030-01-01T00:00:00Z')
    await using server = await serve(json(429, {}, { 'retry-after': new Date(now + 30_000).toUTCString() }))
    await using upstream = connect(server.origin, { clocks: { ...DEFAULTS.clocks, wall: () => now } })
    expect(await upstream.submit(MODEL, INPUT, never)).toEqual({ kind: 'throttled', retryAfterMs: 30_000 })
  })

  test('is not sent after a stop', async () => {
    await using server = await serve(accepts)
    await using upstream = connect(server.origin)
    expect(await upstream.submit(MODEL, INPUT, AbortSignal.abort())).toBeNull()
    await upstream.submit(MODEL, { ...INPUT, seed: 7 }, never)
    expect(server.requests.map(request => JSON.parse(request.body).seed)).toEqual([7])
  })

  test('that a stop aborts has no outcome', async () => {
    await using server = await serve(() => {})
    await using upstream = connect(server.origin)
    const stop = new AbortController()
    const outcome = upstream.submit(MODEL, INPUT, stop.signal)
    await until(() => server.requests.length === 1)
    stop.abort()
    expect(await outcome).toBeNull()
  })
})

describe('an answer', () => {
  const text = JSON.stringify({ code: 200, data: { id: ID, status: 'processing' } })
  const PACKED: [title: string, contentEncoding: string, body: Buffer][] = [
    ['gzip', 'gzip', gzipSync(text)],
    ['gzip, under its old name', 'X-GZIP', gzipSync(text)],
    ['deflate', 'deflate', deflateSync(text)],
    ['brotli', 'br', brotliCompressSync(text)],
    ['zstd', 'zstd', zstdCompressSync(text)],
    ['two encodings', 'gzip, identity, br', brotliCompressSync(gzipSync(text))],
    ['a byte order mark', 'identity', Buffer.from(`\uFEFF${text}`)],
  ]
  test.each(PACKED)('with %s is read, and none was asked for', async (_, contentEncoding, body) => {
    await using server = await serve(response =>
      response.writeHead(200, { 'content-encoding': contentEncoding }).end(body),
    )
    await using upstream = connect(server.origin)
    expect(await upstream.submit(MODEL, INPUT, never)).toEqual({ kind: 'accepted', upstreamId: ID })
    expect(await upstream.getResult(ID, never)).toEqual({ observation: { status: 'processing' } })
    expect(await upstream.probe(never)).toBe(true)
    for (const { headers } of server.requests) expect(headers['accept-encoding']).toBe('identity')
  })

  test.each([
    ['half of its gzip', 'gzip', gzipSync(text).subarray(0, 30)],
    ['an unknown encoding', 'pack200', Buffer.from(text)],
    ['no gzip at all', 'gzip', Buffer.from(text)],
    ['gzip of 64 MB', 'gzip', gzipSync(Buffer.alloc(64 * 1024 * 1024, ' '))],
  ])(
    'that has %s says nothing on 200, and its status counts on a refusal',
    async (_, contentEncoding, body) => {
      let status = 200
      await using server = await serve(response =>
        response.writeHead(status, { 'content-encoding': contentEncoding }).end(body),
      )
      await using upstream = connect(server.origin)
      expect(await upstream.submit(MODEL, INPUT, never)).toEqual({ kind: 'unknown' })
      expect(await upstream.getResult(ID, never)).toMatchObject({ observation: null })
      status = 429
      const kind = body.length > 10_000 ? 'unknown' : 'throttled'
      expect(await upstream.submit(MODEL, INPUT, never)).toMatchObject({ kind })
    },
  )

  test('is not read beyond its limit, and its small pieces take one buffer', async () => {
    const MB = 1024 * 1024
    let written = 0
    let isCut = false
    await using server = await serve(response => {
      response.on('close', () => {
        isCut = true
      })
      const piece = Buffer.alloc(64 * 1024, ' ')
      const write = () => {
        while (!response.destroyed && response.write(piece)) written += piece.length
        written += piece.length
      }
      response.on('drain', write)
      write()
    })
    await using upstream = connect(server.origin)
    expect(await upstream.getResult(ID, never)).toMatchObject({ observation: null })
    await until(() => isCut)
    // What the sockets of both sides hold comes on top.
    expect(written).toBeLessThan(16 * MB)
  })
})

describe('a poll', () => {
  test('reads /result of that id, with the key', async () => {
    await using server = await serve(prediction())
    await using upstream = connect(server.origin)
    expect(await upstream.getResult(ID, never)).toEqual({ observation: { status: 'processing' } })
    const [{ method, url, headers, body }] = server.requests as [ReceivedRequest]
    expect([method, url, body]).toEqual(['GET', `/api/v3/predictions/${ID}/result`, ''])
    expect(headers.authorization).toBe(`Bearer ${KEY}`)
  })

  test('stays under one path, whatever the id', async () => {
    await using server = await serve(prediction({ id: '../a/b?c#d' }))
    await using upstream = connect(server.origin)
    expect(await upstream.getResult('../a/b?c#d', never)).toEqual({ observation: { status: 'processing' } })
    expect(server.requests[0]?.url).toBe('/api/v3/predictions/..%2Fa%2Fb%3Fc%23d/result')
  })

  test('reports a failed job, though the call itself succeeded', async () => {
    await using server = await serve(prediction({ status: 'failed', code: 1200, error: { message: 'x' } }))
    await using upstream = connect(server.origin)
    expect(await upstream.getResult(ID, never)).toEqual({
      observation: { status: 'failed', error: 'CONTENT_REJECTED', inferenceMs: null },
    })
  })

  const failed = { id: ID, status: 'failed', code: 1200 }
  test.each<[title: string, reply: Reply, status?: number, retryAfterMs?: number]>([
    ['429', json(429, { code: 429, data: failed }, { 'retry-after': '7' }), 429, 7000],
    [
      '429 and a page of a proxy',
      response => void response.writeHead(429, { 'retry-after': '7' }).end('<html>'),
      429,
      7000,
    ],
    ['502 and a page of a proxy', response => void response.writeHead(502).end('<html>'), 502],
    ['429 without Retry-After', json(429, { code: 429, data: failed }), 429],
    ...[400, 401, 403, 404, 500, 502, 503, 504].map((status): [string, Reply, number] => [
      `${status}`,
      json(status, { code: status, message: 'no', data: failed }),
      status,
    ]),
    ['503 around a success', json(503, { code: 200, data: failed }), 503],
    ['a code other than 200', json(200, { code: 404, data: failed }), 200],
    ['no code', json(200, { data: failed }), 200],
    ['another id', success({ ...failed, id: 'f'.repeat(32) }), 200],
    ['no data', success(null), 200],
    ['data that is text', success('failed'), 200],
    ['HTML', response => void response.writeHead(200).end('<html>failed</html>')],
    ['nothing', response => void response.writeHead(200).end()],
    [
      'JSON that breaks off',
      response => void response.writeHead(200).end(JSON.stringify({ code: 200, data: failed }).slice(0, -1)),
    ],
    [
      'a body that breaks off',
      (_, request) => void request.socket.end('HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{"code":200,'),
    ],
    ['a reset', (_, request) => void request.socket.resetAndDestroy()],
    ['an answer without end', response => void response.end('x'.repeat(5_000_000))],
  ])('that is answered with %s changes nothing of the job', async (_, reply, status, retryAfterMs) => {
    await using server = await serve(reply)
    await using upstream = connect(server.origin)
    const response = await upstream.getResult(ID, never)
    expect(response).toMatchObject({ observation: null, retryAfterMs: retryAfterMs ?? null })
    if (status !== undefined) expect(response).toMatchObject({ status })
  })

  test('that is not answered in time changes nothing of the job', async () => {
    await using server = await serve(() => {})
    await using upstream = connect(server.origin, { readTimeoutMs: 100 })
    expect(await upstream.getResult(ID, never)).toMatchObject({ observation: null })
    expect(await upstream.probe(never)).toBe(false)
    expect(server.requests).toHaveLength(3)
  })

  test('that is stopped changes nothing of the job', async () => {
    await using server = await serve(() => {})
    await using upstream = connect(server.origin)
    expect(await upstream.getResult(ID, AbortSignal.abort())).toMatchObject({ observation: null })
    const stop = new AbortController()
    const response = upstream.getResult(ID, stop.signal)
    await until(() => server.requests.length > 0)
    stop.abort()
    expect(await response).toMatchObject({ observation: null })
  })
})

describe('a probe', () => {
  test('reads the balance if the list cannot be read', async () => {
    await using server = await serve((response, request) =>
      (request.url === '/api/v3/balance' ? success({ balance: 1 }) : json(403, { code: 403 }))(
        response,
        request,
      ),
    )
    await using upstream = connect(server.origin)
    expect(await upstream.probe(never)).toBe(true)
    expect(server.requests.map(({ method, url }) => `${method} ${url}`)).toEqual([
      'POST /api/v3/predictions',
      'GET /api/v3/balance',
    ])
  })

  test('requests one item of the list, with the key', async () => {
    await using server = await serve(success({ page: 1, items: [] }))
    await using upstream = connect(server.origin)
    expect(await upstream.probe(never)).toBe(true)
    const [{ method, url, headers, body }] = server.requests as [ReceivedRequest]
    expect([method, url, JSON.parse(body)]).toEqual([
      'POST',
      '/api/v3/predictions',
      { page: 1, page_size: 1 },
    ])
    expect(headers.authorization).toBe(`Bearer ${KEY}`)
  })

  test.each<[title: string, reply: Reply]>([
    ...[302, 401, 403, 429, 500, 503].map((status): [string, Reply] => [
      `${status}`,
      json(status, { code: 200, data: { items: [] } }),
    ]),
    ['code 401', json(200, { code: 401, data: null })],
    ['HTML', response => void response.end('<html>')],
    ['a reset', (_, request) => void request.socket.resetAndDestroy()],
  ])('that is answered with %s finds upstream unreadable', async (_, reply) => {
    await using server = await serve(reply)
    await using upstream = connect(server.origin)
    expect(await upstream.probe(never)).toBe(false)
  })
})

describe('the key', () => {
  test.each([301, 302, 303, 307, 308])('does not follow a %i to another host', async status => {
    await using other = await serve(accepts)
    await using server = await serve((response, request) =>
      json(status, {}, { location: `${other.origin}${request.url}` })(response, request),
    )
    await using upstream = connect(server.origin)
    expect(await upstream.submit(MODEL, INPUT, never)).toEqual({ kind: 'unknown' })
    expect(await upstream.getResult(ID, never)).toMatchObject({ observation: null, status })
    expect(await upstream.probe(never)).toBe(false)
    expect(server.requests).toHaveLength(4)
    expect(other.connections()).toBe(0)
  })

  test('is not sent to the URLs that an answer names', async () => {
    await using other = await serve(prediction())
    const named = `${other.origin}/api/v3/predictions/${ID}/result`
    const data = {
      id: ID,
      status: 'completed',
      outputs: [`${other.origin}/video.mp4`],
      urls: { get: named, self: named },
    }
    await using server = await serve(success(data))
    await using upstream = connect(server.origin)
    await upstream.submit(MODEL, INPUT, never)
    expect(await upstream.getResult(ID, never)).toMatchObject({ observation: { status: 'completed' } })
    await upstream.getResult(ID, never)
    expect(server.requests).toHaveLength(3)
    expect(other.connections()).toBe(0)
  })
})

test('a closed client sends nothing more', async () => {
  await using server = await serve(accepts)
  const upstream = createUpstream({ baseUrl: server.origin, apiKey: KEY, ...DEFAULTS })
  await upstream.close()
  expect(await upstream.getResult(ID, never)).toMatchObject({ observation: null })
  expect(await upstream.probe(never)).toBe(false)
  await upstream.submit(MODEL, INPUT, never)
  expect(server.connections()).toBe(0)
})

describe('the list', () => {
  const FROM = 1_800_000_000_000
  const TO = FROM + 150_000
  /** Upstream sends whole seconds; by these two clocks there is no difference. */
  const NOW = FROM + 1_000_500
  const withDate =
    (reply: Reply): Reply =>
    (response, request) => {
      response.setHeader('date', new Date(NOW - 500).toUTCString())
      reply(response, request)
    }
  const open = (origin: string) => connect(origin, { clocks: { ...DEFAULTS.clocks, wall: () => NOW } })
  const at = (ms: number) => new Date(ms).toISOString()
  const item = (id: string, createdAt: string | null = at(FROM + 1000), more: object = {}) => ({
    id,
    model: MODEL,
    created_at: createdAt,
    ...more,
  })
  /** Answers with these pages, one after another. */
  const pages = (...all: unknown[]): Reply => {
    const left = [...all]
    return (response, request) => success({ page: 1, items: left.shift() })(response, request)
  }
  const full = (createdAt?: string) => Array.from({ length: 100 }, (_, i) => item(`${i}`, createdAt))

  test('requests one model and one window, a hundred items per page, until a page is short', async () => {
    await using server = await serve(withDate(pages(full(), [item('last')])))
    await using upstream = open(server.origin)
    const listed = await upstream.list(MODEL, FROM, TO, never)
    expect(listed?.map(({ upstreamId }) => upstreamId)).toEqual([...full().map(({ id }) => id), 'last'])
    expect(server.requests.map(({ method, url, body }) => [method, url, JSON.parse(body)])).toEqual(
      [1, 2].map(page => [
        'POST',
        '/api/v3/predictions',
        {
          page,
          page_size: 100,
          model: MODEL,
          created_after: at(FROM - 300_000),
          created_before: at(TO + 300_000),
          include_inputs: true,
        },
      ]),
    )
  })

  test('is read without inputs for good once upstream rejects only a list that asks for them', async () => {
    let count = 0
    const reply: Reply = (response, request) => {
      const answer = count++ === 0 ? json(400, {}) : success({ page: 1, items: [item('a')] })
      answer(response, request)
    }
    await using server = await serve(withDate(reply))
    await using upstream = open(server.origin)
    for (let i = 0; i < 2; i++)
      expect((await upstream.list(MODEL, FROM, TO, never))?.map(({ upstreamId }) => upstreamId)).toEqual([
        'a',
      ])
    expect(server.requests.map(({ body }) => 'include_inputs' in JSON.parse(body))).toEqual([
      true,
      false,
      false,
    ])
  })

  test('is asked for its inputs again after a rejection of another cause', async () => {
    await using server = await serve(withDate(json(422, {})))
    await using upstream = open(server.origin)
    for (let i = 0; i < 2; i++) expect(await upstream.list(MODEL, FROM, TO, never)).toBeNull()
    expect(server.requests.map(({ body }) => 'include_inputs' in JSON.parse(body))).toEqual([
      true,
      false,
      true,
      false,
    ])
  })

  test('keeps the jobs that may be in the window, even if upstream ignores the window', async () => {
    const items = [
      item('too late', at(TO + 1)),
      item('last', at(TO)),
      item('no moment', null),
      item('no model', at(FROM), { model: null }),
      item('another', at(FROM), { model: 'other/model' }),
      item('first', at(FROM), { input: { prompt: 'x' } }),
      item('too early', at(FROM - 1)),
    ]
    await using server = await serve(withDate(pages(items)))
    await using upstream = open(server.origin)
    expect(await upstream.list(MODEL, FROM, TO, never)).toEqual([
      { upstreamId: 'last', model: MODEL, createdAt: TO, input: null, error: null },
      { upstreamId: 'no moment', model: MODEL, createdAt: null, input: null, error: null },
      { upstreamId: 'no model', model: null, createdAt: FROM, input: null, error: null },
      { upstreamId: 'first', model: MODEL, createdAt: FROM, input: { prompt: 'x' }, error: null },
    ])
  })

  test.each([
    ['behind', -40_000],
    ['ahead', 40_000],
  ])('has creation times by our clock, even if upstream’s is %s', async (_, ms) => {
    const now = () => FROM + 1_000_000
    const answer = pages([item('first', at(FROM + ms)), item('before', at(FROM - 3000 + ms))])
    await using server = await serve((response, request) => {
      response.setHeader('date', new Date(now() + ms).toUTCString())
      answer(response, request)
    })
    await using upstream = connect(server.origin, { clocks: { ...DEFAULTS.clocks, wall: now } })
    const listed = await upstream.list(MODEL, FROM - 1000, TO, never)
    expect(listed?.map(({ upstreamId }) => upstreamId)).toEqual(['first'])
    expect(Math.abs(listed![0]!.createdAt! - FROM)).toBeLessThanOrEqual(1000)
  })

  test.each<[string, (response: ServerResponse) => void]>([
    ['sends no Date', response => void Object.assign(response, { sendDate: false })],
    [
      'sends a Date that is months off',
      response => void response.setHeader('date', 'Thu, 01 Jan 2026 00:00:00 GMT'),
    ],
    ['sends an invalid Date', response => void response.setHeader('date', 'soon')],
  ])('is null if upstream %s', async (_, reply) => {
    await using server = await serve((response, request) => {
      reply(response)
      pages([item('a')])(response, request)
    })
    await using upstream = connect(server.origin)
    expect(await upstream.list(MODEL, FROM, TO, never)).toBeNull()
  })

  test('is read until an item is older than the window', async () => {
    await using server = await serve(withDate(pages(full(at(FROM - 1)), full())))
    await using upstream = open(server.origin)
    expect(await upstream.list(MODEL, FROM, TO, never)).toEqual([])
    expect(server.requests).toHaveLength(1)
  })

  test.each<[string, Reply]>([
    ['answered with 500', json(500, {})],
    ['not JSON', response => void response.end('<html>')],
    ['not a list', success({ page: 1 })],
    ['with a null item', pages([item('a'), null])],
    ['cut off', response => void response.destroy()],
    [
      'answered with 429 at its second page',
      (() => {
        let page = 0
        return (response, request) => (page++ === 0 ? pages(full()) : json(429, {}))(response, request)
      })(),
    ],
    ['without an end', (response, request) => pages(full())(response, request)],
    ['longer than a page', pages([...full(), item('b')])],
  ])('is null if it is %s', async (_, reply) => {
    await using server = await serve(withDate(reply))
    await using upstream = open(server.origin)
    expect(await upstream.list(MODEL, FROM, TO, never)).toBeNull()
    expect(server.requests.length).toBeLessThanOrEqual(50)
  })
})
