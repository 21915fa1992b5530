/**
 * A gateway to throw things at: one app that has much and says nothing, two askers that know its ids, and all that may
 * be looked at afterwards.
 */
import { connect as connectTo } from 'node:net'
import { encodeId } from '../../../src/graphql/global-id.ts'
import { createWebhookAddresses } from '../../../src/upstream/webhook-url.ts'
import { UNCAPPED } from '../../support/doors.ts'
import { type Harness, startGateway, submit, take } from '../../support/gateway.ts'
import { until } from '../../support/until.ts'
import { JPEG, uploaded } from '../../support/upload.ts'
import { SECRET } from './verdict.ts'

export const WEBHOOK_SECRET = 'whsec_of-the-arena'
const PUBLIC_URL = 'https://rushes.example'
const HOUR = 60 * 60 * 1000
/** Whatever is sent is answered by then, or its connection is closed. */
export const PATIENCE_MS = 5000

export interface Arena extends AsyncDisposable {
  harness: Harness
  port: number
  /** A key, a token that may read a part, one that may only submit, one that may do all, and some that are none. */
  bearers: readonly string[]
  /** Ids and cursors, of the other app's and of the askers' own. */
  ids: readonly string[]
  /** `?p=…` of webhooks, and upstream's ids. */
  webhooks: readonly { query: string; upstreamId: string }[]
  /** Fails with whatever was logged that should not have been. */
  calm(): void
  /** Fails unless it serves as ever. */
  serves(): Promise<void>
}

export async function openArena(): Promise<Arena> {
  const harness = await startGateway({
    env: { ...UNCAPPED, PUBLIC_URL, WAVESPEED_WEBHOOK_SECRET: WEBHOOK_SECRET },
  })
  const { store } = harness.gateway
  const theirs = await harness.gateway.issueKey('rich', HOUR)
  const asker = await harness.gateway.issueKey('asker', HOUR)
  const more = {
    tags: [`${SECRET} tag`],
    metadata: { of: SECRET },
    negativePrompt: SECRET,
    image: { url: `https://${SECRET}.example/a.png` },
    idempotencyKey: 'shared key',
  }
  const ids: string[] = []
  for (const seconds of [0, 0.2, 3600]) {
    ids.push(
      await submit(harness, `a ${SECRET} flies sim:seconds=${seconds}`, theirs, {
        ...more,
        idempotencyKey: `shared key ${seconds}`,
      }),
    )
    ids.push(await submit(harness, `a dog runs sim:seconds=${seconds}`, asker, { tags: ['t'] }))
  }
  await submit(harness, `a ${SECRET} sim:fail=1200`, theirs, more)
  for (const key of [theirs, asker]) ids.push((await uploaded(harness, JPEG, key)).id)
  const token = async (input: string) => {
    const { data } = await harness.query(
      `mutation { createAccessToken(input: { ${input} }) { ... on CreateAccessTokenPayload { token } } }`,
      {},
      asker,
    )
    return data.createAccessToken.token as string
  }
  const bearers = [
    // Most often somebody who may ask everything.
    ...[asker, asker, asker, asker],
    await token('permissions: [READ], tags: ["t"]'),
    await token('permissions: [SUBMIT], maxSubmits: 3'),
    await token(`permissions: [READ, SUBMIT], maxSubmits: 10000, predictionIds: ["${ids[1]}"]`),
    `${asker.slice(0, -2)}xx`,
    '',
  ]
  const cursors: string[] = []
  for (const key of [theirs, asker]) {
    const { data } = await harness.query(
      '{ feedCursor predictions(first: 1) { pageInfo { endCursor } edges { node { history(first: 2) { edges { cursor } } } } } }',
      {},
      key,
    )
    const { pageInfo, edges } = data.predictions
    cursors.push(data.feedCursor, pageInfo.endCursor, edges[0].node.history.edges[0].cursor)
  }
  const addresses = createWebhookAddresses(store.webhookKey, PUBLIC_URL)
  const sent = await until(async () => {
    const { data } = await harness.query('{ predictions { edges { node { id upstreamId } } } }', {}, asker)
    const nodes = data.predictions.edges.map(
      (edge: { node: { id: string; upstreamId: string | null } }) => edge.node,
    )
    return nodes.every((node: { upstreamId: string | null }) => node.upstreamId !== null) && nodes
  })
  const webhooks = sent.map(({ id, upstreamId }: { id: string; upstreamId: string }) => ({
    upstreamId,
    query: new URL(addresses.of(Buffer.from(id, 'base64url').toString().split(':')[1]!)!).search,
  }))
  const viewer = await harness.query('{ viewer { id } }', {}, theirs)

  return {
    harness,
    port: Number(new URL(harness.gateway.url).port),
    bearers,
    ids: [
      // Most often one that is there, half of them the other app's.
      ...[ids, ids, ids, ids].flat(),
      ...cursors,
      viewer.data.viewer.id,
      encodeId('Prediction', '018f0000-0000-7000-8000-000000000000'),
      '',
    ],
    webhooks,

    calm() {
      const bad = harness.log.filter(({ level }) => level === 'error')
      harness.log.length = 0
      if (bad.length > 0)
        throw new Error(
          `it was logged: ${bad.map(({ message, fields }) => `${message}: ${(fields.err as Error)?.stack}`).join('\n')}`,
        )
    },

    async serves() {
      for (const transport of ['WebSocket', 'SSE'] as const) {
        const feed = harness.subscribe(
          transport,
          'subscription { predictionFeed { ... on PredictionEvent { prediction { id } } } }',
          {},
          asker,
        )
        await take(feed, 1)
        const id = await submit(harness, 'sim:seconds=0', asker)
        for (;;) {
          const [item] = await take(feed, 1)
          if (item?.data?.predictionFeed.prediction?.id === id) break
        }
        await feed.return?.()
      }
      const health = await harness.fetch('/health/ready')
      if (health.status !== 200) throw new Error(`it is not ready: ${health.status}`)
    },

    [Symbol.asyncDispose]: () => harness[Symbol.asyncDispose](),
  }
}

export interface Talk {
  /** Each in a write of its own. */
  pieces: readonly Buffer[]
  ending: 'wait' | 'half-close' | 'reset'
}

export interface Said {
  bytes: Buffer
  /** It never ended. */
  hangs: boolean
}

/** A rest so long, and the client has said all and heard all that it waits for. */
const REST_MS = 150

/** All that comes back on a connection of its own, to its end. One that waits for more closes its half after a rest. */
export function talk(port: number, { pieces, ending }: Talk): Promise<Said> {
  return new Promise(resolve => {
    const heard: Buffer[] = []
    const socket = connectTo({ port, host: '127.0.0.1', allowHalfOpen: true })
    const end = (hangs: boolean) => {
      clearTimeout(patience)
      clearTimeout(rest)
      socket.destroy()
      resolve({ bytes: Buffer.concat(heard), hangs })
    }
    let rest: NodeJS.Timeout | undefined
    const patience = setTimeout(() => end(true), PATIENCE_MS)
    const restAWhile = () => {
      clearTimeout(rest)
      rest = setTimeout(() => socket.end(), REST_MS)
    }
    socket.on('data', chunk => {
      heard.push(chunk)
      if (ending === 'wait') restAWhile()
    })
    socket.on('end', () => end(false))
    socket.on('error', () => end(false))
    socket.on('close', () => end(false))
    socket.on('connect', async () => {
      for (const piece of pieces) {
        if (socket.destroyed) return
        socket.write(piece)
        await new Promise(setImmediate)
      }
      if (ending === 'half-close') socket.end()
      else if (ending === 'reset') {
        socket.resetAndDestroy()
        end(false)
      } else restAWhile()
    })
  })
}
