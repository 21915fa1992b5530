/**
 * A gateway under fuzzing: a target app with secret data, and an asker that knows the target's ids.
 */
import { connect as connectTo } from 'node:net'
import { encodeId } from '../../../src/graphql/global-id.ts'
import { createWebhookUrls } from '../../../src/upstream/webhook-url.ts'
import { type Harness, startGateway, submit, take } from '../../support/gateway.ts'
import { UNLIMITED_ENV } from '../../support/transports.ts'
import { until } from '../../support/until.ts'
import { JPEG, uploadImage } from '../../support/upload.ts'
import { SECRET } from './response-check.ts'

export const WEBHOOK_SECRET = 'whsec_of-the-fuzz-test'
const PUBLIC_URL = 'https://rushes.example'
const HOUR = 60 * 60 * 1000
/** Time-out for an answer or the end of a connection. */
export const RESPONSE_TIMEOUT_MS = 5000

export interface FuzzScenario extends AsyncDisposable {
  harness: Harness
  port: number
  /** Valid keys, restricted tokens and invalid credentials. */
  bearers: readonly string[]
  /** Ids and cursors, of both apps. */
  ids: readonly string[]
  /** Query strings of webhook URLs, with upstream ids. */
  webhooks: readonly { query: string; upstreamId: string }[]
  /** Throws if an error was logged. */
  assertNoErrorsLogged(): void
  /** Throws unless both transports and /health/ready work. */
  assertServes(): Promise<void>
}

export async function openFuzzScenario(): Promise<FuzzScenario> {
  const harness = await startGateway({
    env: { ...UNLIMITED_ENV, PUBLIC_URL, WAVESPEED_WEBHOOK_SECRET: WEBHOOK_SECRET },
  })
  const { store } = harness.gateway
  const targetKey = await harness.gateway.issueKey('rich', HOUR)
  const askerKey = await harness.gateway.issueKey('asker', HOUR)
  const secretInput = {
    tags: [`${SECRET} tag`],
    metadata: { of: SECRET },
    negativePrompt: SECRET,
    image: { url: `https://${SECRET}.example/a.png` },
    idempotencyKey: 'shared key',
  }
  const ids: string[] = []
  for (const seconds of [0, 0.2, 3600]) {
    ids.push(
      await submit(harness, `a ${SECRET} flies sim:seconds=${seconds}`, targetKey, {
        ...secretInput,
        idempotencyKey: `shared key ${seconds}`,
      }),
    )
    ids.push(await submit(harness, `a dog runs sim:seconds=${seconds}`, askerKey, { tags: ['t'] }))
  }
  await submit(harness, `a ${SECRET} sim:fail=1200`, targetKey, secretInput)
  for (const key of [targetKey, askerKey]) ids.push((await uploadImage(harness, JPEG, key)).id)
  const createToken = async (input: string) => {
    const { data } = await harness.query(
      `mutation { createAccessToken(input: { ${input} }) { ... on CreateAccessTokenPayload { token } } }`,
      {},
      askerKey,
    )
    return data.createAccessToken.token as string
  }
  const bearers = [
    // Mostly a key with all permissions.
    ...[askerKey, askerKey, askerKey, askerKey],
    await createToken('permissions: [READ], tags: ["t"]'),
    await createToken('permissions: [SUBMIT], maxSubmits: 3'),
    await createToken(`permissions: [READ, SUBMIT], maxSubmits: 10000, predictionIds: ["${ids[1]}"]`),
    `${askerKey.slice(0, -2)}xx`,
    '',
  ]
  const cursors: string[] = []
  for (const key of [targetKey, askerKey]) {
    const { data } = await harness.query(
      '{ feedCursor predictions(first: 1) { pageInfo { endCursor } edges { node { history(first: 2) { edges { cursor } } } } } }',
      {},
      key,
    )
    const { pageInfo, edges } = data.predictions
    cursors.push(data.feedCursor, pageInfo.endCursor, edges[0].node.history.edges[0].cursor)
  }
  const webhookUrls = createWebhookUrls(store.webhookKey, PUBLIC_URL)
  const sent = await until(async () => {
    const { data } = await harness.query('{ predictions { edges { node { id upstreamId } } } }', {}, askerKey)
    const nodes = data.predictions.edges.map(
      (edge: { node: { id: string; upstreamId: string | null } }) => edge.node,
    )
    return nodes.every((node: { upstreamId: string | null }) => node.upstreamId !== null) && nodes
  })
  const webhooks = sent.map(({ id, upstreamId }: { id: string; upstreamId: string }) => ({
    upstreamId,
    query: new URL(webhookUrls.urlFor(Buffer.from(id, 'base64url').toString().split(':')[1]!)!).search,
  }))
  const viewer = await harness.query('{ viewer { id } }', {}, targetKey)

  return {
    harness,
    port: Number(new URL(harness.gateway.url).port),
    bearers,
    ids: [
      // Mostly existing ids, half of them the target's.
      ...[ids, ids, ids, ids].flat(),
      ...cursors,
      viewer.data.viewer.id,
      encodeId('Prediction', '018f0000-0000-7000-8000-000000000000'),
      '',
    ],
    webhooks,

    assertNoErrorsLogged() {
      const errors = harness.log.filter(({ level }) => level === 'error')
      harness.log.length = 0
      if (errors.length > 0)
        throw new Error(
          `errors were logged: ${errors.map(({ message, fields }) => `${message}: ${(fields.err as Error)?.stack}`).join('\n')}`,
        )
    },

    async assertServes() {
      for (const transport of ['WebSocket', 'SSE'] as const) {
        const feed = harness.subscribe(
          transport,
          'subscription { predictionFeed { ... on PredictionEvent { prediction { id } } } }',
          {},
          askerKey,
        )
        await take(feed, 1)
        const id = await submit(harness, 'sim:seconds=0', askerKey)
        for (;;) {
          const [item] = await take(feed, 1)
          if (item?.data?.predictionFeed.prediction?.id === id) break
        }
        await feed.return?.()
      }
      const health = await harness.fetch('/health/ready')
      if (health.status !== 200) throw new Error(`/health/ready answers ${health.status}`)
    },

    [Symbol.asyncDispose]: () => harness[Symbol.asyncDispose](),
  }
}

export interface RawExchange {
  /** Each is sent in its own write. */
  chunks: readonly Buffer[]
  ending: 'wait' | 'half-close' | 'reset'
}

export interface RawReply {
  bytes: Buffer
  /** The connection did not end within the time-out. */
  hasTimedOut: boolean
}

/** After this silence the client has sent everything and received what it waits for. */
const IDLE_BEFORE_END_MS = 150

/** Sends the chunks on a new connection and reads to its end. */
export function exchangeBytes(port: number, { chunks, ending }: RawExchange): Promise<RawReply> {
  return new Promise(resolve => {
    const received: Buffer[] = []
    const socket = connectTo({ port, host: '127.0.0.1', allowHalfOpen: true })
    const finish = (hasTimedOut: boolean) => {
      clearTimeout(timeoutTimer)
      clearTimeout(idleTimer)
      socket.destroy()
      resolve({ bytes: Buffer.concat(received), hasTimedOut })
    }
    let idleTimer: NodeJS.Timeout | undefined
    const timeoutTimer = setTimeout(() => finish(true), RESPONSE_TIMEOUT_MS)
    const restartIdleTimer = () => {
      clearTimeout(idleTimer)
      idleTimer = setTimeout(() => socket.end(), IDLE_BEFORE_END_MS)
    }
    socket.on('data', chunk => {
      received.push(chunk)
      if (ending === 'wait') restartIdleTimer()
    })
    socket.on('end', () => finish(false))
    socket.on('error', () => finish(false))
    socket.on('close', () => finish(false))
    socket.on('connect', async () => {
      for (const chunk of chunks) {
        if (socket.destroyed) return
        socket.write(chunk)
        await new Promise(setImmediate)
      }
      if (ending === 'half-close') socket.end()
      else if (ending === 'reset') {
        socket.resetAndDestroy()
        finish(false)
      } else restartIdleTimer()
    })
  })
}
