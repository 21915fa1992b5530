/**
 * A plain graphql-ws client with `resumable` around it, as the README recommends.
 */
import { setTimeout as pause } from 'node:timers/promises'
import { inspect } from 'node:util'
import { createClient } from 'graphql-ws'
import { WebSocket } from 'ws'
import { resumable } from '../../../src/client/resumable.ts'
import { type FeedClient, type FeedClientOptions, RETRY_DELAY_MS } from './feed-client.ts'

export function connectOverWebSocket({
  url,
  key,
  document,
  variables,
  history,
  random,
}: FeedClientOptions): FeedClient {
  let socket: WebSocket | null = null
  const client = createClient({
    url: url.replace('http', 'ws'),
    webSocketImpl: WebSocket,
    connectionParams: { authorization: `Bearer ${key}` },
    retryAttempts: Number.POSITIVE_INFINITY,
    shouldRetry: () => true,
    retryWait: () => pause(random.between(...RETRY_DELAY_MS)),
    on: {
      opened(opened) {
        socket = opened as WebSocket
      },
      connected: () => history.recordConnection(),
    },
  })

  let isClosing = false
  const unsubscribe = resumable(client).subscribe(
    { query: document, variables },
    {
      next: result => void history.record(result),
      error: error =>
        history.recordBreach(`ended with ${inspect(error, { breakLength: Number.POSITIVE_INFINITY })}`),
      complete() {
        if (!isClosing) history.recordBreach('completed')
      },
    },
  )

  return {
    dropConnection: () => socket?.terminate(),
    async close() {
      isClosing = true
      unsubscribe()
      // `dispose` waits for a pending connection, and rejects with it.
      await client.dispose()?.catch(() => {})
    },
  }
}
