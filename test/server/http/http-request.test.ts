/**
 * Bodies in pieces, bodies that nobody reads, and connections after an early response.
 */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { text } from 'node:stream/consumers'
import { describe, expect, test } from 'vitest'
import { type Harness, startGateway } from '../../support/gateway.ts'
import { mintToken } from '../../support/token.ts'
import { until } from '../../support/until.ts'
import {
  FORM_TYPE,
  filePart,
  JPEG,
  MAP,
  multipartForm,
  OPERATIONS,
  uploadParts,
} from '../../support/upload.ts'

const WEBHOOK_ENV = { PUBLIC_URL: 'https://rushes.example', WAVESPEED_WEBHOOK_SECRET: 'whsec_of-upstream' }
const WRONG_KEY = `rsh_${'x'.repeat(40)}`
const NAME = '{"query":"{ viewer { name } }"}'

const open = (harness: Harness): Socket => {
  const socket = connect(Number(new URL(harness.gateway.url).port), '127.0.0.1')
  socket.on('error', () => {})
  return socket
}
const postHead = (path: string, key: string, headers: string) =>
  `POST ${path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${key}\r\n${headers}\r\n`
const signatureLines = () =>
  `webhook-id: a\r\nwebhook-timestamp: ${Math.floor(Date.now() / 1000)}\r\nwebhook-signature: v3,${'a'.repeat(64)}\r\n`

/** A body as chunks of `size` bytes. */
function chunked(body: Buffer | string, size: number): Buffer {
  const bytes = Buffer.from(body)
  const chunks: Buffer[] = []
  for (let at = 0; at < bytes.length; at += size) {
    const piece = bytes.subarray(at, at + size)
    chunks.push(Buffer.from(`${piece.length.toString(16)}\r\n`), piece, Buffer.from('\r\n'))
  }
  return Buffer.concat([...chunks, Buffer.from('0\r\n\r\n')])
}

/** Everything that the server sends until it closes the connection. */
async function exchange(harness: Harness, head: string, body: Buffer | string): Promise<string> {
  const socket = open(harness)
  let answer = ''
  socket.on('data', data => {
    answer += data
  })
  const closed = new Promise(resolve => socket.once('close', resolve))
  socket.write(head)
  socket.write(body)
  await closed
  return answer
}

const JSON_LINES = 'Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n'
const FORM_LINES = `Content-Type: ${FORM_TYPE}\r\nTransfer-Encoding: chunked\r\n`
const LONG_JSON = `{"query":"{ viewer { name } }","variables":{"a":"${'x'.repeat(20_000)}"}}`

describe('a body in pieces', () => {
  test.each([
    ['a JSON body', '/graphql', JSON_LINES, LONG_JSON],
    ['a form', '/graphql', FORM_LINES, multipartForm(uploadParts(JPEG))],
    ['a form that nothing is charged for', '/graphql', FORM_LINES, multipartForm(uploadParts(JPEG))],
    [
      'a URL-encoded form',
      '/graphql',
      'Content-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n',
      `query=${'x'.repeat(20_000)}`,
    ],
    ['a webhook', '/webhooks/wavespeed', `${signatureLines()}Transfer-Encoding: chunked\r\n`, LONG_JSON],
  ])(
    '%s of one byte each is rejected with a sentence, and its connection closes',
    async (name, path, lines, body) => {
      await using harness = await startGateway({ env: WEBHOOK_ENV })
      const key = name.endsWith('charged for')
        ? await mintToken(harness, { permissions: ['READ'], maxSubmits: 0 })
        : harness.key
      const answer = await exchange(harness, postHead(path, key, lines), chunked(body, 1))
      expect(answer).toMatch(/^HTTP\/1.1 413 .*\r\nConnection: close\r\n.*pieces of at least 128 bytes/s)
      expect(harness.log.filter(({ level }) => level === 'error')).toEqual([])
    },
  )

  test('closes its connection even if the response is sent already', async () => {
    await using harness = await startGateway()
    const answer = await exchange(harness, postHead('/', '', JSON_LINES), chunked('x'.repeat(1_000_000), 1))
    expect(answer).toMatch(/^HTTP\/1.1 4(05|13) /)
  })

  test('that is short, or has larger pieces on average, is read', async () => {
    await using harness = await startGateway()
    const head = postHead('/graphql', harness.key, `${JSON_LINES}Connection: close\r\n`)
    for (const body of [chunked(NAME, 1), chunked(LONG_JSON, 130)])
      expect(await exchange(harness, head, body)).toContain('{"data":{"viewer":{"name":"test"}}}')
  })

  test('is rejected while its request waits behind wrong keys', async () => {
    await using harness = await startGateway({ env: { MAX_WRONG_KEYS_PER_MINUTE: '1' } })
    await exchange(harness, postHead('/graphql', WRONG_KEY, 'Connection: close\r\n'), '')
    const begun = performance.now()
    const answer = await exchange(harness, postHead('/graphql', WRONG_KEY, JSON_LINES), chunked(LONG_JSON, 1))
    expect(answer).toMatch(/^HTTP\/1.1 413 /)
    expect(performance.now() - begun).toBeLessThan(900)
  })
})

describe('after an early response', () => {
  const form = (bytes: number) =>
    multipartForm([
      { name: 'operations', body: OPERATIONS },
      { name: 'map', body: MAP },
      { name: 'another', body: '' },
      filePart(Buffer.alloc(bytes, 'x')),
    ])
  const rest = Buffer.alloc(600_000, 'x')

  test.each<[string, string, (harness: Harness) => string, Buffer]>([
    [
      'a form that is not valid',
      ' 400 ',
      ({ key }) => postHead('/graphql', key, lengthLines(FORM_TYPE, form(600_000))),
      form(600_000),
    ],
    [
      'a wrong key',
      ' 401 ',
      () => postHead('/graphql', WRONG_KEY, lengthLines('application/json', rest)),
      rest,
    ],
    ['another type', ' 415 ', ({ key }) => postHead('/graphql', key, lengthLines('text/plain', rest)), rest],
    ['another method', ' 405 ', ({ key }) => postHead('/', key, lengthLines('text/plain', rest)), rest],
    [
      'a webhook without a signature',
      ' 401 ',
      ({ key }) => postHead('/webhooks/wavespeed', key, lengthLines('text/plain', rest)),
      rest,
    ],
  ])('of %s the next request on the connection is answered', async (_, status, head, body) => {
    await using harness = await startGateway({ env: WEBHOOK_ENV })
    const socket = open(harness)
    const answer = text(socket)
    socket.write(head(harness))
    socket.write(body)
    const next = postHead(
      '/graphql',
      harness.key,
      `${lengthLines('application/json', NAME)}Connection: close\r\n`,
    )
    socket.write(next + NAME)
    expect(await answer).toMatch(new RegExp(`^HTTP/1.1${status}.*"viewer":{"name":"test"}`, 's'))
  })

  test('the connection of a body without a declared length closes, and the response is not lost', async () => {
    await using harness = await startGateway()
    const body = chunked(Buffer.alloc(900_000, 'x'), 30_000)
    const answer = await exchange(harness, postHead('/graphql', WRONG_KEY, JSON_LINES), body)
    expect(answer).toMatch(/^HTTP\/1.1 401 .*connection: close/is)
  })

  test('a client that asks before it sends its body is answered without it, or told to go on', async () => {
    await using harness = await startGateway()
    const lines = `${lengthLines('application/json', NAME)}Expect: 100-continue\r\n`
    expect(await exchange(harness, postHead('/graphql', WRONG_KEY, lines), '')).toMatch(/^HTTP\/1.1 401 /)
    const socket = open(harness)
    socket.write(postHead('/graphql', harness.key, `${lines}Connection: close\r\n`))
    expect(String((await once(socket, 'data'))[0])).toBe('HTTP/1.1 100 Continue\r\n\r\n')
    socket.write(NAME)
    expect(await text(socket)).toContain('"viewer":{"name":"test"}')
  })
})

const lengthLines = (type: string, body: Buffer | string) =>
  `Content-Type: ${type}\r\nContent-Length: ${body.length}\r\n`

describe('shares', () => {
  test('bodies that do not end fill the share of their token, and no share of another caller', async () => {
    await using harness = await startGateway()
    const token = await mintToken(harness)
    const head = (key: string) =>
      postHead('/graphql', key, lengthLines('application/json', Buffer.alloc(1_000_000)))
    const sockets = Array.from({ length: 8 }, () => open(harness))
    const answers: string[] = []
    for (const socket of sockets) {
      socket.on('data', data => answers.push(String(data)))
      socket.write(head(token))
      socket.write(Buffer.alloc(900_000, ' '))
    }
    await until(() => answers.length === 4)
    for (const answer of answers) expect(answer).toMatch(/^HTTP\/1.1 429 .*retry-after: 1.*RATE_LIMITED/is)
    const variables = { a: 'x'.repeat(800_000) }
    for (const key of [harness.key, await mintToken(harness)])
      expect((await harness.query('{ viewer { name } }', variables, key)).data.viewer.name).toBe('test')
    for (const socket of sockets) socket.destroy()
    await until(async () => (await harness.query('{ viewer { name } }', variables, token)).data !== undefined)
  })

  test('a hundred webhooks that send no body keep no signed one out', async () => {
    await using harness = await startGateway({ env: WEBHOOK_ENV })
    const sockets = Array.from({ length: 100 }, () => open(harness))
    const head = postHead('/webhooks/wavespeed', '', `${signatureLines()}Content-Length: 250000\r\n`)
    await Promise.all(sockets.map(socket => new Promise(resolve => socket.write(head, resolve))))
    const signed = await harness.fetch('/webhooks/wavespeed', {
      method: 'POST',
      headers: Object.fromEntries(
        signatureLines()
          .trim()
          .split('\r\n')
          .map(line => line.split(': ')),
      ),
      body: '{"id":"x"}',
    })
    // It was read, and its signature is wrong.
    expect([signed.status, await signed.text()]).toEqual([401, 'not signed by upstream\n'])
    for (const socket of sockets) socket.destroy()
  })
})
