/**
 * HTTP as RFC 9110 and RFC 9112 have it, sent byte by byte.
 */
import { once } from 'node:events'
import { connect } from 'node:net'
import { text } from 'node:stream/consumers'
import { gzipSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { type Harness, startGateway } from '../../support/gateway.ts'
import { FORM_TYPE, multipartForm, sendForm, uploadParts } from '../../support/upload.ts'

const NAME = '{"query":"{ viewer { name } }"}'
const SUBMIT = `mutation ($prompt: String!) {
  submitVideo(input: { image: { url: "https://images.example/a.png" }, prompt: $prompt }) { __typename }
}`

/** Everything that the server sends on a connection on which it gets `request`. */
async function exchange(harness: Harness, request: string | Buffer): Promise<string> {
  const socket = connect(Number(new URL(harness.gateway.url).port), '127.0.0.1')
  socket.write(request)
  return text(socket)
}

const post = (harness: Harness, type: string, body: string | Buffer, headers: Record<string, string> = {}) =>
  harness.fetch('/graphql', {
    method: 'POST',
    headers: { authorization: `Bearer ${harness.key}`, 'content-type': type, ...headers },
    body,
  })

const messageOf = async (answer: { json(): Promise<unknown> }) =>
  ((await answer.json()) as { errors: { message: string }[] }).errors[0]!.message

const jobCount = async (harness: Harness): Promise<number> =>
  (await harness.query('{ predictions { edges { cursor } } }')).data.predictions.edges.length

const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
/** Older versions of Node reject the request, whatever the server does. */
const canIgnoreUpgrades = major > 24 || (major === 24 && minor >= 9) || (major === 22 && minor >= 21)

describe.runIf(canIgnoreUpgrades)('a request for another protocol', () => {
  const H2C =
    'Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n'

  test('is answered over HTTP/1.1, with its body, and so is the next request', async () => {
    await using harness = await startGateway()
    const socket = connect(Number(new URL(harness.gateway.url).port), '127.0.0.1')
    const lines = `Host: x\r\nAuthorization: Bearer ${harness.key}\r\nContent-Type: application/json\r\nContent-Length: ${NAME.length}\r\n`
    for (const request of [
      `POST /graphql HTTP/1.1\r\n${lines}${H2C}\r\n${NAME}`,
      `GET /health/live HTTP/1.1\r\nHost: x\r\n${H2C}\r\n`,
      `POST /graphql HTTP/1.1\r\n${lines}\r\n${NAME}`,
    ]) {
      socket.write(request)
      expect(String((await once(socket, 'data'))[0])).toMatch(/^HTTP\/1.1 200 OK/)
    }
    socket.destroy()
  })
})

test('a target may be a whole URL, whose host takes precedence', async () => {
  await using harness = await startGateway()
  const lines = `Authorization: Bearer ${harness.key}\r\nContent-Type: application/json\r\nContent-Length: ${NAME.length}\r\nConnection: close\r\n`
  for (const target of [
    'http://a.example/graphql',
    'HTTPS://a.example:443/graphql',
    'http://u@a.example/graphql?x=1',
  ]) {
    const answer = await exchange(
      harness,
      `POST ${target} HTTP/1.1\r\nHost: b.example\r\n${lines}\r\n${NAME}`,
    )
    expect(answer).toContain('"viewer":{"name":"test"}')
  }
  const page = await exchange(
    harness,
    'GET http://a.example HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n',
  )
  expect(page).toMatch(/^HTTP\/1.1 200 OK/)
  const socket = new WebSocket(harness.gateway.endpoint.replace('http', 'ws'), 'graphql-transport-ws', {
    finishRequest: request => {
      request.path = 'http://a.example/graphql'
      request.end()
    },
  })
  await once(socket, 'open')
  socket.close()
  await once(socket, 'close')
})

describe('a content type', () => {
  test.each([
    'application/json',
    'Application/JSON',
    'application/json ; charset=UTF-8',
    ' application/json;charset="utf-8"',
    'APPLICATION/JSON; Charset=Utf8',
    'application/json; profile=x; charset = us-ascii',
    'application/graphql+json ; a=b',
  ])('of %j is JSON', async type => {
    await using harness = await startGateway()
    expect(await (await post(harness, type, NAME)).json()).toEqual({ data: { viewer: { name: 'test' } } })
  })

  test.each([
    ['Application/GraphQL ; charset=utf-8', '{ viewer { name } }'],
    ['Application/X-WWW-Form-URLEncoded ;charset=utf-8', 'query=%7B+viewer+%7B+name+%7D+%7D'],
  ])('of %j is read too', async (type, body) => {
    await using harness = await startGateway()
    expect(await (await post(harness, type, body)).json()).toEqual({ data: { viewer: { name: 'test' } } })
  })

  test.each([
    ['text/plain', /^Content-Type: expected application\/json, /],
    ['application/jsonx', /^Content-Type: expected application\/json, /],
    ['application/json; charset=latin1', /^Content-Type: expected charset=utf-8$/],
    ['application/json;charset="utf-16le"', /^Content-Type: expected charset=utf-8$/],
    [`${FORM_TYPE}; charset=iso-8859-1`, /^Content-Type: expected charset=utf-8$/],
  ])('of %j gets a 415 with a sentence', async (type, message) => {
    await using harness = await startGateway()
    const answer = await post(harness, type, NAME)
    expect(answer.status).toBe(415)
    expect(await messageOf(answer)).toMatch(message)
  })
})

describe('text that is not UTF-8', () => {
  const prompt = Buffer.from([0x66, 0xfc, 0x72])
  const jsonOf = (value: Buffer) =>
    Buffer.concat([
      Buffer.from(`{"query":${JSON.stringify(SUBMIT)},"variables":{"prompt":"`),
      value,
      Buffer.from('"}}'),
    ])
  const FORM = 'application/x-www-form-urlencoded'
  const formOf = (value: string) =>
    `query=${encodeURIComponent(SUBMIT)}&variables=${encodeURIComponent('{"prompt":"')}${value}%22%7D`

  test.each<[string, string, string | Buffer]>([
    ['JSON', 'application/json', jsonOf(prompt)],
    ['JSON of another name', 'application/graphql+json', jsonOf(prompt)],
    [
      'a document',
      'application/graphql',
      Buffer.concat([Buffer.from('{ a(b: "'), prompt, Buffer.from('") }')]),
    ],
    ['a form', FORM, formOf('f%FCr')],
    ['a form of raw bytes', FORM, Buffer.concat([Buffer.from(formOf('')), prompt])],
  ])('in %s gets a 400 with a sentence, and nothing is submitted', async (_, type, body) => {
    await using harness = await startGateway()
    const answer = await post(harness, type, body)
    expect([answer.status, await messageOf(answer)]).toEqual([400, 'body: expected valid UTF-8'])
    expect(await jobCount(harness)).toBe(0)
  })

  test('in a multipart form gets an error with a sentence', async () => {
    await using harness = await startGateway()
    const [operations, map, file] = uploadParts('x') as [object, object, object]
    const send = (part: object) => sendForm(harness, multipartForm([part, map, file] as never))
    const broken = await send({ ...operations, body: jsonOf(prompt) })
    expect([broken.status, await messageOf(broken)]).toEqual([400, 'body: expected fields in valid UTF-8'])
    const latin = await send({ ...operations, type: 'application/json; charset=latin1' })
    expect([latin.status, await messageOf(latin)]).toEqual([415, 'body: expected fields with charset=utf-8'])
  })

  test('that is UTF-8 is submitted as it is, percent signs and all', async () => {
    await using harness = await startGateway()
    for (const answer of [
      await post(harness, 'application/json', jsonOf(Buffer.from('für 100 %'))),
      await post(harness, FORM, formOf('f%C3%BCr+100%25')),
    ])
      expect(await answer.json()).toEqual({ data: { submitVideo: { __typename: 'SubmitVideoPayload' } } })
  })

  test('in a binary WebSocket message closes the connection, and nothing is submitted', async () => {
    await using harness = await startGateway()
    const socket = new WebSocket(harness.gateway.endpoint.replace('http', 'ws'), 'graphql-transport-ws')
    await once(socket, 'open')
    socket.send(
      JSON.stringify({ type: 'connection_init', payload: { authorization: `Bearer ${harness.key}` } }),
    )
    await once(socket, 'message')
    socket.send(
      Buffer.concat([
        Buffer.from('{"id":"1","type":"subscribe","payload":'),
        jsonOf(prompt),
        Buffer.from('}'),
      ]),
    )
    expect((await once(socket, 'close'))[0]).toBe(1007)
    expect(await jobCount(harness)).toBe(0)
  })
})

test.each(['application/json', 'application/graphql+json'])(
  'a byte order mark before %s is ignored',
  async type => {
    await using harness = await startGateway()
    const answer = await post(harness, type, `\ufeff${NAME}`)
    expect(await answer.json()).toEqual({ data: { viewer: { name: 'test' } } })
  },
)

test('a byte order mark before the operations of a form is ignored', async () => {
  await using harness = await startGateway()
  const [operations, ...others] = uploadParts('x') as [{ body: string }, object]
  const parts = [{ ...operations, body: `\ufeff${operations.body}` }, ...others]
  const answer = await sendForm(harness, multipartForm(parts as never))
  expect(await answer.json()).toMatchObject({ data: { uploadImage: { __typename: 'InvalidInputError' } } })
})

test('a body with a content encoding gets a 415 with a sentence, on every path', async () => {
  await using harness = await startGateway({
    env: { PUBLIC_URL: 'https://rushes.example', WAVESPEED_WEBHOOK_SECRET: 'whsec_of-upstream' },
  })
  for (const type of ['application/json', FORM_TYPE]) {
    const answer = await post(harness, type, gzipSync(NAME), { 'content-encoding': 'gzip' })
    expect([answer.status, answer.headers.get('accept-encoding')]).toEqual([415, 'identity'])
    expect(await messageOf(answer)).toMatch(/^Content-Encoding: expected identity/)
  }
  const plain = await post(harness, 'application/json', NAME, { 'content-encoding': 'Identity' })
  expect(plain.status).toBe(200)
  const webhook = await harness.fetch('/webhooks/wavespeed', {
    method: 'POST',
    headers: {
      'webhook-id': 'a',
      'webhook-timestamp': `${Math.floor(Date.now() / 1000)}`,
      'webhook-signature': `v3,${'a'.repeat(64)}`,
      'content-encoding': 'gzip',
    },
    body: gzipSync('{}'),
  })
  expect([webhook.status, await webhook.text()]).toEqual([415, 'a compressed body is not read\n'])
})

describe('an error response has a sentence', () => {
  test.each([
    ['a type that is not sent', 'text/html', NAME],
    [
      'a subscription without an event stream',
      'application/json',
      '{"query":"subscription { predictionFeed { __typename } }"}',
    ],
  ])('of %s', async (_, accept, body) => {
    await using harness = await startGateway()
    const answer = await post(harness, 'application/json', body, { accept })
    expect(answer.status).toBe(406)
    expect(await messageOf(answer)).toMatch(/^Accept: expected application\/json or .*text\/event-stream$/)
  })

  test.each([
    [
      'headers that are too long',
      `GET / HTTP/1.1\r\nHost: x\r\nA: ${'x'.repeat(20_000)}\r\n\r\n`,
      431,
      'headers: expected at most 16384 bytes',
    ],
    ['noise', 'noise\r\n\r\n', 400, 'request: expected HTTP/1.1'],
    [
      'a length that is not a number',
      'POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n',
      400,
      'request: expected HTTP/1.1',
    ],
  ])('of %s', async (_, request, status, message) => {
    await using harness = await startGateway()
    const answer = await exchange(harness, request)
    expect(answer).toMatch(new RegExp(`^HTTP/1.1 ${status} `))
    expect(JSON.parse(answer.split('\r\n\r\n')[1]!).errors[0].message).toBe(message)
  })

  test('of a body that does not end in time', async () => {
    await using harness = await startGateway({ overrides: { httpTimeouts: { requestTimeout: 100 } } })
    const answer = await exchange(
      harness,
      `POST /graphql HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${harness.key}\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{`,
    )
    expect(answer).toMatch(/^HTTP\/1.1 408 .*request: expected to end within 0.1 seconds/s)
  })
})
