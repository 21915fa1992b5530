/**
 * Attacks on the resources of a gateway, each of a kind whose numbers are drawn: sizes of pieces, repeats, lengths, and
 * peers that are slow.
 */
import { connect, type Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { WebSocket } from 'ws'
import type { SeededRandom } from '../../../src/simulator/seeded-random.ts'
import { FORM_TYPE, JPEG, multipartForm, uploadParts } from '../../support/upload.ts'
import { imageHost } from './image-host.ts'

export interface AttackTarget {
  port: number
  /** Key of the attacking app. */
  key: string
  /** Token of the attacking app with READ alone. */
  readToken: string
  /** Predictions of the attacking app. */
  ids: readonly string[]
}

/** Goes on until the signal aborts. Returns its numbers as text. */
export type Attack = (target: AttackTarget, random: SeededRandom, signal: AbortSignal) => Promise<string>

const KB = 1024
const PIECE_BYTES = [1, 1, 2, 7, 64, 500, 4096]

/** The ways by which a body comes in. */
const ENTRANCES = [
  'JSON',
  'JSON with a READ token',
  'JSON with an invalid key',
  'form',
  'form with a READ token',
  'webhook',
]
type Entrance = (typeof ENTRANCES)[number]

function openRequest(entrance: Entrance, { key, readToken }: AttackTarget, bytes: number) {
  const bearer = entrance.includes('READ')
    ? readToken
    : entrance.includes('invalid')
      ? `${key.slice(0, -2)}xx`
      : key
  const path = entrance === 'webhook' ? '/webhooks/wavespeed?p=x' : '/graphql'
  const type = entrance.startsWith('form') ? FORM_TYPE : 'application/json'
  const head = [
    `POST ${path} HTTP/1.1`,
    'Host: 127.0.0.1',
    ...(entrance === 'webhook' ? [] : [`Authorization: Bearer ${bearer}`]),
    `Content-Type: ${type}`,
    'Transfer-Encoding: chunked',
  ]
  const padding = 'x'.repeat(bytes)
  const body = entrance.startsWith('form')
    ? multipartForm(uploadParts(Buffer.concat([JPEG, Buffer.from(padding)])))
    : Buffer.from(JSON.stringify({ query: '{ viewer { id } }', variables: { padding } }))
  return { head: `${head.join('\r\n')}\r\n\r\n`, body }
}

function chunksOf(body: Buffer, pieceBytes: number): Buffer {
  const chunks: Buffer[] = []
  for (let at = 0; at < body.length; at += pieceBytes) {
    const piece = body.subarray(at, at + pieceBytes)
    chunks.push(Buffer.from(`${piece.length.toString(16)}\r\n`), piece, Buffer.from('\r\n'))
  }
  return Buffer.concat([...chunks, Buffer.from('0\r\n\r\n')])
}

/** Opens a connection whose answers are discarded. */
function openSocket(port: number, signal: AbortSignal): Socket {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true })
  socket.on('error', () => {}).resume()
  signal.addEventListener('abort', () => socket.destroy(), { once: true })
  return socket
}

const untilClosed = (socket: Socket) => new Promise(resolve => socket.once('close', resolve))

/** Runs `task` again and again on each of so many connections. */
async function repeat(connections: number, signal: AbortSignal, task: () => Promise<unknown>): Promise<void> {
  const loop = async () => {
    while (!signal.aborted) {
      await task().catch(() => {})
      // Requests that fail at once must not keep the loop from the signal.
      await delay(1)
    }
  }
  await Promise.all(Array.from({ length: connections }, loop))
}

const bodyInPieces: Attack = async (target, random, signal) => {
  const [entrance, pieceBytes, connections] = [
    random.pick(ENTRANCES),
    random.pick(PIECE_BYTES),
    random.between(2, 12),
  ]
  const bytes = random.between(10, 900) * KB
  const { head, body } = openRequest(entrance, target, bytes)
  const chunks = chunksOf(body, pieceBytes)
  await repeat(connections, signal, async () => {
    const socket = openSocket(target.port, signal)
    socket.write(head)
    socket.write(chunks)
    socket.once('data', () => socket.destroy())
    await untilClosed(socket)
  })
  return `${entrance}, ${bytes} bytes in pieces of ${pieceBytes}, ${connections} connections`
}

const bodyThatStops: Attack = async (target, random, signal) => {
  const [entrance, connections] = [random.pick(ENTRANCES), random.between(8, 80)]
  const { head, body } = openRequest(entrance, target, 100 * KB)
  const sentBytes = random.pick([0, 1, 1000, 90_000])
  const start = chunksOf(body.subarray(0, sentBytes), 1024).subarray(0, -5)
  await repeat(connections, signal, async () => {
    const socket = openSocket(target.port, signal)
    socket.write(head)
    socket.write(start)
    await untilClosed(socket)
  })
  return `${entrance}, ${sentBytes} bytes and no more, ${connections} connections`
}

async function post({ port, key }: AttackTarget, body: object, signal: AbortSignal): Promise<void> {
  const response = await fetch(`http://127.0.0.1:${port}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${key}` },
    body: JSON.stringify(body),
    signal,
  })
  await response.arrayBuffer()
}

const repeatedValues: Attack = async (target, random, signal) => {
  const [ids, aliases, aliasLength] = [
    random.between(1, 100),
    random.between(1, 90),
    random.pick([1, 10, 100, 60_000]),
  ]
  const connections = random.between(1, 8)
  const count = aliasLength > 1000 ? 1 : aliases
  const fields = Array.from(
    { length: count },
    (_, i) => `a${i}${'x'.repeat(aliasLength)}: input { prompt }`,
  ).join(' ')
  const query = `query ($ids: [ID!]!) { nodes(ids: $ids) { ... on Prediction { ${fields} } } }`
  const variables = { ids: Array.from({ length: ids }, () => target.ids[0]) }
  await repeat(connections, signal, () => post(target, { query, variables }, signal))
  return `one id ${ids} times, ${count} aliases of ${aliasLength} letters, ${connections} connections`
}

const LONG_VALUES = {
  id: 'query ($v: ID!) { node(id: $v) { id } }',
  cursor: 'query ($v: String) { predictions(after: $v) { edges { cursor } } }',
  tag: 'query ($v: String!) { predictions(filter: { tags: [$v, $v, $v, $v] }) { edges { cursor } } }',
  prompt: `mutation ($v: String!) { submitVideo(input: { image: { url: "https://x.example/a.png" }, prompt: $v, tags: [$v, $v], idempotencyKey: $v }) { __typename } }`,
}

const longValue: Attack = async (target, random, signal) => {
  const name = random.pick(Object.keys(LONG_VALUES) as (keyof typeof LONG_VALUES)[])
  const [characters, connections] = [random.pick([1000, 30_000, 900_000]), random.between(1, 8)]
  const variables = { v: random.pick(['x', 'é', '😀', 'A']).repeat(characters).slice(0, characters) }
  await repeat(connections, signal, () => post(target, { query: LONG_VALUES[name], variables }, signal))
  return `${name} of ${characters} characters, ${connections} connections`
}

const newDocuments: Attack = async (target, random, signal) => {
  const [fields, connections] = [random.between(1, 300), random.between(4, 100)]
  let count = 0
  await repeat(connections, signal, () => {
    const names = Array.from({ length: fields }, (_, i) => `f${count}_${i}: __typename`)
    return post(target, { query: `query Q${count++} { ${names.join(' ')} }` }, signal)
  })
  return `new documents of ${fields} fields, ${connections} connections`
}

const pipelinedRequests: Attack = async (target, random, signal) => {
  const [requests, connections, isReading] = [
    random.pick([10, 1000, 20_000]),
    random.between(1, 4),
    random.chance(0.5),
  ]
  const body = JSON.stringify({ query: '{ viewer { id } }' })
  const request = `POST /graphql HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${target.key}\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`
  await repeat(connections, signal, async () => {
    const socket = openSocket(target.port, signal)
    if (!isReading) socket.pause()
    socket.write(request.repeat(requests))
    await Promise.race([untilClosed(socket), delay(2000)])
    socket.destroy()
  })
  return `${requests} requests on each of ${connections} connections, ${isReading ? '' : 'not '}read`
}

const subscriptionVariables: Attack = async ({ port, readToken }, random, signal) => {
  const [connections, count, entries] = [
    random.between(1, 19),
    random.between(1, 60),
    random.pick([1, 100, 10_000]),
  ]
  const variables = { after: null, padding: Array.from({ length: entries }, () => ({})) }
  const payload = {
    query: 'subscription ($after: String) { predictionFeed(after: $after) { __typename } }',
    variables,
  }
  await repeat(connections, signal, async () => {
    const socket = new WebSocket(`ws://127.0.0.1:${port}/graphql`, 'graphql-transport-ws')
    const closed = new Promise(resolve => socket.once('close', resolve))
    socket.on('error', () => {})
    signal.addEventListener('abort', () => socket.terminate(), { once: true })
    socket.once('open', () =>
      socket.send(
        JSON.stringify({ type: 'connection_init', payload: { authorization: `Bearer ${readToken}` } }),
      ),
    )
    socket.once('message', () => {
      for (let i = 0; i < count; i++) socket.send(JSON.stringify({ type: 'subscribe', id: `${i}`, payload }))
    })
    await closed
  })
  return `${count} subscriptions with ${entries} values on each of ${connections} connections`
}

const webSocketPings: Attack = async ({ port, key }, random, signal) => {
  const [connections, characters] = [random.between(1, 8), random.pick([0, 100, 900_000])]
  const ping = JSON.stringify({ type: 'ping', payload: { text: 'x'.repeat(characters) } })
  await repeat(connections, signal, async () => {
    const socket = new WebSocket(`ws://127.0.0.1:${port}/graphql`, 'graphql-transport-ws')
    const closed = new Promise(resolve => socket.once('close', resolve))
    socket.on('error', () => {})
    signal.addEventListener('abort', () => socket.terminate(), { once: true })
    socket.once('open', () =>
      socket.send(JSON.stringify({ type: 'connection_init', payload: { authorization: `Bearer ${key}` } })),
    )
    const sending = setInterval(() => {
      if (socket.readyState === WebSocket.OPEN && socket.bufferedAmount < 4 * KB * KB) socket.send(ping)
    }, 5)
    await closed
    clearInterval(sending)
  })
  return `pings of ${characters} characters, ${connections} connections`
}

const PATHS = [
  '/',
  '/assets/dashboard/prediction-list.ts',
  '/assets/lib/uplot/dist/uPlot.esm.js',
  '/assets/lib/preact/no.js',
  '/graphql',
]

const filesWithoutKey: Attack = async ({ port }, random, signal) => {
  const [path, connections] = [random.pick(PATHS), random.between(1, 30)]
  const headers = {
    accept: random.pick(['text/html', '*/*', ','.repeat(10_000)]),
    'accept-encoding': random.pick(['gzip', 'identity', 'gzip;q=0', ','.repeat(4000)]),
    ...random.pick([{}, { range: 'bytes=0-0' }, { 'if-none-match': '"a",'.repeat(1000) }]),
  }
  const method = random.pick(['GET', 'HEAD'])
  let count = 0
  await repeat(connections, signal, async () => {
    const response = await fetch(`http://127.0.0.1:${port}${path}?${count++}`, { method, headers, signal })
    await response.arrayBuffer()
  })
  return `${method} ${path}, ${connections} connections`
}

const SUBMIT =
  'mutation ($url: URL!) { submitVideo(input: { image: { url: $url }, prompt: "x" }) { __typename } }'

/** The attack is what the host sends, not how many jobs are submitted. */
const SUBMIT_INTERVAL_MS = 50

const imageHosts: Attack = async (target, random, signal) => {
  const host = await imageHost(random, signal)
  await repeat(1, signal, async () => {
    await post(target, { query: SUBMIT, variables: { url: host.url } }, signal)
    await delay(SUBMIT_INTERVAL_MS)
  })
  return `${host.name}, ${host.requestCount()} requests`
}

export const ATTACKS = {
  'a body in small pieces': bodyInPieces,
  'a body that stops': bodyThatStops,
  'repeated values': repeatedValues,
  'a long value': longValue,
  'new documents': newDocuments,
  'pipelined requests': pipelinedRequests,
  'large variables of subscriptions': subscriptionVariables,
  'WebSocket pings': webSocketPings,
  'files without a key': filesWithoutKey,
  'an image host': imageHosts,
} satisfies Record<string, Attack>
export type AttackName = keyof typeof ATTACKS
