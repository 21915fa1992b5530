/**
 * The subscribers: clients over both transports, of two apps, some filtered, some late.
 */

import type { SeededRandom } from '../../../src/simulator/seeded-random.ts'
import type { App } from '../../support/app.ts'
import { createDeliveryHistory, type DeliveryHistory } from './delivery-history.ts'
import { type FeedClient, type Filter, feedDocument } from './feed-client.ts'
import { connectOverSse } from './sse-feed-client.ts'
import { connectOverWebSocket } from './websocket-feed-client.ts'

export interface Subscriber extends FeedClient {
  app: App
  filter: Filter
  history: DeliveryHistory
}

export interface SubscriberPool extends AsyncDisposable {
  readonly subscribers: readonly Subscriber[]
  /** Reconnects of all clients together. */
  readonly reconnects: number
  /** Events delivered to all clients together, and how many of them live. */
  readonly deliveredCount: number
  readonly liveCount: number
  /** @param after cursor to start after; without it the client starts at the head */
  add(transport: Transport, app: App, after?: string): Subscriber
}

const TRANSPORTS = { WebSocket: connectOverWebSocket, SSE: connectOverSse }
export type Transport = keyof typeof TRANSPORTS

/** Assigned round robin. An app's first subscriber has no filter. */
const FILTERS: readonly Filter[] = [{}, { statuses: ['CREATED', 'COMPLETED'] }, {}, { tags: ['red'] }]
/** Every fifth initial subscriber selects more than its socket buffers hold. */
const LARGE_EVERY = 5

export function createSubscriberPool(url: string, random: SeededRandom): SubscriberPool {
  const subscribers: Subscriber[] = []
  const sum = (count: (history: DeliveryHistory) => number) =>
    subscribers.reduce((total, { history }) => total + count(history), 0)

  return {
    subscribers,
    get reconnects() {
      return sum(history => Math.max(0, history.connectionCount - 1))
    },
    get deliveredCount() {
      return sum(history => history.events.length)
    },
    get liveCount() {
      return sum(history => history.liveCount)
    },

    add(transport, app, after) {
      const filter =
        FILTERS[subscribers.filter(subscriber => subscriber.app === app).length % FILTERS.length]!
      const isLarge = after === undefined && subscribers.length % LARGE_EVERY === 0
      const name = `client ${subscribers.length + 1} (${transport}, ${app.name}, ${JSON.stringify(filter)})`
      const history = createDeliveryHistory(name)
      const client = TRANSPORTS[transport]({
        url,
        key: app.key,
        document: feedDocument(isLarge),
        variables: { filter, ...(after !== undefined && { after }) },
        history,
        random: random.fork(name),
      })
      const subscriber = { ...client, app, filter, history }
      subscribers.push(subscriber)
      return subscriber
    },

    async [Symbol.asyncDispose]() {
      await Promise.all(subscribers.map(subscriber => subscriber.close()))
    },
  }
}
