import { createHmac } from 'node:crypto'
import { connect } from 'node:net'
import { text } from 'node:stream/consumers'
import { describe, expect, test } from 'vitest'
import { createWebhookUrls } from '../../src/upstream/webhook-url.ts'
import { until } from '../support/until.ts'
import {
  dataReply,
  FINAL_STATUSES,
  isPoll,
  isSubmit,
  openWorld,
  refusal,
  upstreamIdOf,
} from '../support/world.ts'

const SECRET = 'whsec_one-of-upstream'
const PUBLIC = 'https://rushes.example/gate'
const MINUTE = 60_000
/** Polls alone would come late: an early end came by the webhook. */
const SLOW_POLLS = { POLL_MIN_INTERVAL_MS: '60000', POLL_MAX_INTERVAL_MS: '86400000' }
const ENV = { PUBLIC_URL: PUBLIC, WAVESPEED_WEBHOOK_SECRET: `whsec_the-one-before,${SECRET}`, ...SLOW_POLLS }

type World = Awaited<ReturnType<typeof openWorld>>

interface Sent {
  secret?: string
  /** The webhook's time, ms. */
  at?: number
  headers?: Record<string, string>
}

/** Delivers a webhook in upstream's format. */
async function deliver(world: World, query: string, body: string, over: Sent = {}) {
  const { secret = SECRET, at = world.now(), headers = {} } = over
  const id = 'a-webhook'
  const timestamp = String(Math.floor(at / 1000))
  const key = secret.replace(/^whsec_/, '')
  const signature = createHmac('sha256', key).update(`${id}.${timestamp}.${body}`).digest('hex')
  const response = await world.harness.fetch(`/webhooks/wavespeed${query}`, {
    method: 'POST',
    headers: {
      'webhook-id': id,
      'webhook-timestamp': timestamp,
      'webhook-signature': `v3,${signature}`,
      ...headers,
    },
    body,
  })
  await response.body?.cancel()
  return response.status
}

/** Headers of a signature that is recent, and of nothing. */
const signatureLines = (world: World) =>
  `webhook-id: a\r\nwebhook-timestamp: ${Math.floor(world.now() / 1000)}\r\nwebhook-signature: v3,${'a'.repeat(64)}\r\n`

const tokenOf = (world: World, id: string): string =>
  new URL(createWebhookUrls(world.store.webhookKey, PUBLIC).urlFor(id)!).search
/** The prediction's own id, from its prompt. */
const predictionId = async (world: World, prompt: string) => (await world.job(prompt)).id
const bodyOf = (id: string, status = 'completed') => JSON.stringify({ id, status, outputs: [], error: '' })
const upstreamId = (world: World, prompt: string) => until(async () => (await world.job(prompt)).upstreamId)

describe('a signed webhook', () => {
  test('triggers the poll that decides: its own content is not believed', async () => {
    await using world = await openWorld({ env: ENV })
    const { id, prompt } = await world.submit('sim:seconds=0 sim:fail=1200')
    const of = await upstreamId(world, prompt)
    expect(world.polls()).toHaveLength(0)
    expect(await deliver(world, tokenOf(world, await predictionId(world, prompt)), bodyOf(of))).toBe(204)
    expect(await world.untilStatus(id, ...FINAL_STATUSES)).toMatchObject({
      status: 'FAILED',
      error: { code: 'CONTENT_REJECTED' },
    })
    expect(world.polls()).toHaveLength(1)
  })

  test('finds its job by the upstream id if its URL has no token', async () => {
    await using world = await openWorld({ env: ENV })
    const { id, prompt } = await world.submit()
    expect(await deliver(world, '', bodyOf(await upstreamId(world, prompt)))).toBe(204)
    await world.untilStatus(id, 'COMPLETED')
  })

  test('delivered twice has one effect', async () => {
    await using world = await openWorld({ env: ENV })
    const { id, prompt } = await world.submit()
    const of = await upstreamId(world, prompt)
    const query = tokenOf(world, await predictionId(world, prompt))
    await Promise.all([1, 2, 3].map(() => deliver(world, query, bodyOf(of))))
    const done = await world.untilStatus(id, 'COMPLETED')
    expect(await deliver(world, query, bodyOf(of, 'failed'))).toBe(204)
    expect(await world.read(id)).toEqual(done)
    expect((await world.job(prompt)).tracking).toBeNull()
  })

  test('is not consumed by a failed poll, which is repeated soon', async () => {
    let failures = 2
    await using world = await openWorld({
      env: { ...ENV, POLL_MIN_INTERVAL_MS: '50' },
      fault: call => (isPoll(call) && failures-- > 0 ? refusal(503) : null),
    })
    const { id, prompt } = await world.submit()
    expect(await deliver(world, '', bodyOf(await upstreamId(world, prompt)))).toBe(204)
    await world.untilStatus(id, 'COMPLETED')
    expect(world.polls()).toHaveLength(3)
  })

  test('delivered twice does not end a job early whose outputs are late', async () => {
    let isLate = true
    await using world = await openWorld({
      env: { ...ENV, POLL_MIN_INTERVAL_MS: '400' },
      fault: call =>
        isPoll(call) && isLate
          ? dataReply({ id: upstreamIdOf(call), status: 'completed', outputs: [] })
          : null,
    })
    const { id, prompt } = await world.submit()
    const of = await upstreamId(world, prompt)
    for (const n of [1, 2, 3]) {
      await deliver(world, '', bodyOf(of))
      await until(() => world.polls().length >= n)
    }
    isLate = false
    expect(await world.untilStatus(id, ...FINAL_STATUSES)).toMatchObject({ status: 'COMPLETED' })
  })

  test('of a job that has not ended changes nothing', async () => {
    await using world = await openWorld({ env: ENV })
    const { id, prompt } = await world.submit('sim:seconds=600')
    const of = await upstreamId(world, prompt)
    expect(await deliver(world, '', bodyOf(of))).toBe(204)
    await until(() => world.polls().length === 1)
    expect(await world.read(id)).toMatchObject({ status: 'CREATED' })
  })

  test('of an unknown job is answered like any other, with whatever token', async () => {
    await using world = await openWorld({ env: ENV })
    const { prompt } = await world.submit('sim:seconds=600')
    await upstreamId(world, prompt)
    const before = await world.job(prompt)
    const own = tokenOf(world, await predictionId(world, prompt))
    for (const query of ['', '?p=', '?p=x', `${own}x`, '?p=a&p=b', own])
      expect(await deliver(world, query, bodyOf('nobodys'))).toBe(204)
    expect(await world.job(prompt)).toEqual(before)
  })
})

test('that arrives before the answer of the POST is remembered: the first poll comes at once', async () => {
  await using world = await openWorld({
    env: ENV,
    fault(call) {
      return isPoll(call)
        ? dataReply({
            id: upstreamIdOf(call),
            status: 'completed',
            outputs: ['https://videos.example/1.mp4'],
          })
        : null
    },
  })
  // The answer is on its way back when the webhook arrives.
  const { store } = world.gateway
  const { findIdByUpstreamId } = store
  let lookedUpId = ''
  store.findIdByUpstreamId = async upstream => {
    if (lookedUpId === '') {
      lookedUpId = upstream
      expect(await deliver(world, '', bodyOf(upstream))).toBe(204)
    }
    return findIdByUpstreamId(upstream)
  }
  const { id } = await world.submit('sim:seconds=0')
  await world.untilStatus(id, 'COMPLETED')
  expect(world.polls()).toHaveLength(1)
})

describe('a webhook with the token of a row', () => {
  test('resolves it at once if the answer of its POST was lost', async () => {
    await using world = await openWorld({
      env: ENV,
      fault: call => (isSubmit(call) ? { cut: 'before' } : null),
    })
    const { id, prompt } = await world.submit()
    await until(async () => (await world.job(prompt)).submission === 'unknown')
    const query = tokenOf(world, await predictionId(world, prompt))
    expect(await deliver(world, query, bodyOf('the-lost-one'))).toBe(204)
    expect(await world.untilStatus(id, 'CREATED')).toMatchObject({ upstreamId: 'the-lost-one' })
  })

  test('corrects it if its app was answered SUBMISSION_UNKNOWN', async () => {
    await using world = await openWorld({
      env: { ...ENV, UPSTREAM_UNKNOWN_MS: '100' },
      fault: call =>
        isSubmit(call)
          ? { cut: 'before' }
          : isPoll(call)
            ? dataReply({
                id: upstreamIdOf(call),
                status: 'completed',
                outputs: ['https://videos.example/1.mp4'],
              })
            : null,
    })
    const { id, prompt } = await world.submit()
    await until(async () => (await world.job(prompt)).submission === 'unknown')
    world.advanceClock(3 * MINUTE)
    await world.untilStatus(id, 'FAILED')
    expect(
      await deliver(world, tokenOf(world, await predictionId(world, prompt)), bodyOf('the-lost-one')),
    ).toBe(204)
    expect(await world.untilStatus(id, 'COMPLETED')).toMatchObject({
      error: null,
      upstreamId: 'the-lost-one',
    })
  })

  test('resolves it while its POST still waits for an answer; that answer changes nothing then', async () => {
    await using world = await openWorld({
      env: { ...ENV, UPSTREAM_SUBMIT_TIMEOUT_MS: '1500' },
      fault: call => (isSubmit(call) ? { stall: 'before' } : null),
    })
    const { id, prompt } = await world.submit()
    await until(async () => (await world.job(prompt)).submission === 'begun')
    expect(await deliver(world, tokenOf(world, await predictionId(world, prompt)), bodyOf('early'))).toBe(204)
    expect(await world.untilStatus(id, 'CREATED')).toMatchObject({ upstreamId: 'early' })
    await until(() => world.log.some(line => line.message.includes('settled before')))
    expect(await world.job(prompt)).toMatchObject({ status: 'CREATED', submission: 'accepted' })
  })

  test('never assigns another row’s job', async () => {
    await using world = await openWorld({ env: ENV })
    const first = await world.submit('sim:seconds=600')
    const of = await upstreamId(world, first.prompt)
    const { store } = world.gateway
    store.claimSubmits = async () => []
    const second = await world.submit()
    expect(await deliver(world, tokenOf(world, await predictionId(world, second.prompt)), bodyOf(of))).toBe(
      204,
    )
    expect(await world.job(second.prompt)).toMatchObject({ submission: 'none', upstreamId: null })
  })
})

describe('the webhook endpoint', () => {
  test.each<[string, Sent]>([
    ['signed with another secret', { secret: 'whsec_another' }],
    ['that is five minutes old', { at: Date.now() - 6 * MINUTE }],
    ['from five minutes ahead', { at: Date.now() + 6 * MINUTE }],
    ['without a signature', { headers: { 'webhook-signature': '' } }],
  ])('rejects one %s, and polls nothing', async (_, over) => {
    await using world = await openWorld({ env: ENV })
    const { prompt } = await world.submit()
    const of = await upstreamId(world, prompt)
    const before = await world.job(prompt)
    expect(await deliver(world, '', bodyOf(of), over)).toBe(401)
    expect(await world.job(prompt)).toEqual(before)
  })

  test('accepts a signature with either of two secrets', async () => {
    await using world = await openWorld({ env: ENV })
    for (const secret of ['whsec_the-one-before', SECRET])
      expect(await deliver(world, '', bodyOf('x'), { secret })).toBe(204)
  })

  test('is disabled without a secret, and upstream is given no webhook URL', async () => {
    await using world = await openWorld({ env: { PUBLIC_URL: PUBLIC } })
    expect(await deliver(world, '', bodyOf('x'))).toBe(403)
    expect(createWebhookUrls(world.store.webhookKey, null).urlFor('x')).toBeNull()
  })

  test('rejects a body that is not a prediction or too long, and other methods than POST', async () => {
    await using world = await openWorld({ env: ENV })
    for (const body of ['', 'x', '[]', '{}', '{"id": 5}']) expect(await deliver(world, '', body)).toBe(400)
    expect(await deliver(world, '', 'x'.repeat(1024 * 1024 + 1))).toBe(413)
    expect((await world.harness.fetch('/webhooks/wavespeed')).status).toBe(405)
  })

  test('closes a connection whose request does not end', async () => {
    await using world = await openWorld({ env: ENV })
    const socket = connect(Number(new URL(world.gateway.url).port), '127.0.0.1')
    const closed = new Promise<void>(resolve => socket.once('close', () => resolve()))
    socket.on('error', () => {})
    socket.write(
      `POST /webhooks/wavespeed HTTP/1.1\r\nHost: x\r\n${signatureLines(world)}Content-Length: 100\r\n\r\n{`,
    )
    const answer = text(socket)
    await closed
    expect(await answer).toMatch(/^HTTP\/1.1 408 .*\r\nconnection: close\r\n.*within 5 seconds\n/is)
    expect(await deliver(world, '', bodyOf('x'))).toBe(204)
  }, 15_000)

  test('answers 503 while the database cannot be written', async () => {
    await using world = await openWorld({ env: ENV })
    world.store.findIdByUpstreamId = async () => {
      throw new Error('SQLITE_FULL')
    }
    expect(await deliver(world, '', bodyOf('x'))).toBe(503)
  })
})
