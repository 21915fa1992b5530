import { createClient as createSseClient } from 'graphql-sse'
import { createClient } from 'graphql-ws'
import { describe, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { resumable, type Sink, type SubscribePayload } from '../../src/client/resumable.ts'
import { type Harness, startGateway, submit } from '../support/gateway.ts'
import { until } from '../support/until.ts'

const FEED = `subscription ($after: String) { feed: predictionFeed(after: $after) {
  __typename
  ... on PredictionEvent { cursor prediction { id status } }
  ... on FeedCaughtUp { cursor }
  ... on FeedGap { cursor }
} }`

/** A client whose results the test sends, and which records its subscriptions. */
function fakeClient() {
  const subscriptions: { payload: SubscribePayload; sink: Sink }[] = []
  return {
    subscriptions,
    iterate: () => {},
    on: () => 'on',
    subscribe(payload: SubscribePayload, sink: Sink) {
      subscriptions.push({ payload, sink })
      return () => {}
    },
  }
}

describe('resumable', () => {
  test('sets `after` to the cursor of each item once the sink has it, and does not change the given payload', () => {
    const client = fakeClient()
    const payload = { query: FEED, variables: { after: 'a', filter: {} } }
    const seen: unknown[] = []
    const sink = { next: (r: unknown) => void seen.push([r, sent()]), error() {}, complete() {} }
    const sent = () => client.subscriptions[0]?.payload.variables?.after
    resumable(client).subscribe(payload, sink)
    const [b, c] = ['b', 'c'].map(cursor => ({ data: { feed: { cursor } } }))
    client.subscriptions[0]?.sink.next(b)
    client.subscriptions[0]?.sink.next(c)
    expect(seen).toEqual([
      [b, 'a'],
      [c, 'b'],
    ])
    expect(client.subscriptions[0]?.payload).toEqual({ query: FEED, variables: { after: 'c', filter: {} } })
    expect(payload.variables.after).toBe('a')
  })

  test('passes on results without a cursor, errors and completion, with the sink as `this`', () => {
    const client = fakeClient()
    class ReceivedCalls {
      all: unknown[] = []
      next(result: unknown) {
        this.all.push(result)
      }
      error(error: unknown) {
        this.all.push(error)
      }
      complete() {
        this.all.push('complete')
      }
    }
    const sink = new ReceivedCalls()
    resumable(client).subscribe({ query: '{ x }' }, sink)
    const inner = client.subscriptions[0]!.sink
    const results = [{ data: { x: 1 } }, { data: { x: null } }, { data: null }, { errors: [] }]
    for (const result of results) inner.next(result)
    inner.error('error')
    inner.complete()
    expect(sink.all).toEqual([...results, 'error', 'complete'])
    expect(client.subscriptions[0]?.payload.variables).toEqual({})
  })

  test('keeps the rest of the client, except `iterate`, which bypasses `subscribe`', () => {
    const client = resumable(fakeClient())
    expect(client.on()).toBe('on')
    expect('iterate' in client).toBe(false)
  })
})

const clients = {
  'graphql-ws': (harness: Harness) =>
    createClient({
      url: harness.gateway.endpoint.replace('http', 'ws'),
      webSocketImpl: WebSocket,
      connectionParams: { authorization: `Bearer ${harness.key}` },
      retryAttempts: Number.POSITIVE_INFINITY,
      retryWait: () => new Promise(resolve => setTimeout(resolve, 50)),
      shouldRetry: () => true,
    }),
  'graphql-sse': (harness: Harness) =>
    createSseClient({
      url: harness.gateway.endpoint,
      headers: { authorization: `Bearer ${harness.key}` },
      retryAttempts: Number.POSITIVE_INFINITY,
      retry: () => new Promise(resolve => setTimeout(resolve, 50)),
    }),
}

test.each(['graphql-ws', 'graphql-sse'] as const)(
  'a plain %s client, wrapped, has a feed without gaps across restarts',
  async name => {
    await using harness = await startGateway()
    const plain = clients[name](harness)
    const items: { cursor: string; prediction?: { id: string; status: string } }[] = []
    const failures: unknown[] = []
    const stop = resumable(plain).subscribe(
      { query: FEED },
      {
        next: result => void items.push((result.data as { feed: (typeof items)[0] }).feed),
        error: error => void failures.push(error),
        complete: () => void failures.push('complete'),
      },
    )
    await until(() => items.length === 1)
    const ids: string[] = []
    for (const _ of [1, 2]) {
      ids.push(await submit(harness, 'sim:seconds=0.5'))
      await until(() => items.some(item => item.prediction?.id === ids.at(-1)))
      await harness.restart()
      ids.push(await submit(harness, 'sim:seconds=0.1'))
    }
    const ends = () => items.filter(item => item.prediction?.status === 'COMPLETED')
    await until(() => ends().length === ids.length)
    expect(failures).toEqual([])
    const { data } = await harness.query(
      '{ predictions { nodes: edges { node { id history { edges { cursor } } } } } }',
    )
    const log = data.predictions.nodes.flatMap(
      (edge: { node: { history: { edges: { cursor: string }[] } } }) =>
        edge.node.history.edges.map(event => event.cursor),
    )
    const seen = items.filter(item => item.prediction).map(item => item.cursor)
    expect(seen.toSorted()).toEqual(log.toSorted())
    stop()
    await plain.dispose()
  },
)
