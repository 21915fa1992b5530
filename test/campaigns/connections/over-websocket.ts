/**
 * A plain graphql-ws client with `resumable` around it, as the README tells an app to write one.
 */
import { setTimeout as pause } from 'node:timers/promises'
import { inspect } from 'node:util'
import { createClient } from 'graphql-ws'
import { WebSocket } from 'ws'
import { resumable } from '../../../src/client/resumable.ts'
import { type Question, RETRY_MS, type Watcher } from './watcher.ts'

export function watchOverWebSocket({ url, key, document, variables, diary, random }: Question): Watcher {
  let socket: WebSocket | null = null
  const client = createClient({
    url: url.replace('http', 'ws'),
    webSocketImpl: WebSocket,
    connectionParams: { authorization: `Bearer ${key}` },
    retryAttempts: Number.POSITIVE_INFINITY,
    shouldRetry: () => true,
    retryWait: () => pause(random.between(...RETRY_MS)),
    on: {
      opened(opened) {
        socket = opened as WebSocket
      },
      connected: () => diary.connected(),
    },
  })

  let isLeaving = false
  const unsubscribe = resumable(client).subscribe(
    { query: document, variables },
    {
      next: result => void diary.take(result),
      error: error => diary.fail(`ended with ${inspect(error, { breakLength: Number.POSITIVE_INFINITY })}`),
      complete() {
        if (!isLeaving) diary.fail('completed')
      },
    },
  )

  return {
    drop: () => socket?.terminate(),
    async close() {
      isLeaving = true
      unsubscribe()
      // It waits for a connection under way, and fails with it.
      await client.dispose()?.catch(() => {})
    },
  }
}
