/**
 * An SSE client that resumes: with `after` until the stream has sent an id, then with `Last-Event-ID` and the
 * original body.
 * Invariant: an event counts once its blank line has arrived. An incomplete event is dropped.
 */
import type { ClientRequest } from 'node:http'
import { post } from '../../support/post.ts'
import { sleep } from '../../support/sleep.ts'
import { type FeedClient, type FeedClientOptions, RETRY_DELAY_MS } from './feed-client.ts'

export function connectOverSse({
  url,
  key,
  document,
  variables,
  history,
  random,
}: FeedClientOptions): FeedClient {
  const closing = new AbortController()
  let connection: ClientRequest | null = null
  let lastId: string | null = null
  let after = variables.after

  async function readStream(): Promise<void> {
    const resumeVariables = lastId === null ? { after } : {}
    const body = { query: document, variables: { ...variables, ...resumeVariables } }
    const headers = { accept: 'text/event-stream', ...(lastId !== null && { 'last-event-id': lastId }) }
    const posted = post(url, key, body, headers, closing.signal)
    connection = posted.connection
    const response = await posted.response
    const status = response.statusCode ?? 0
    // 429 and 5xx are retried.
    if (status === 429 || status >= 500) return void response.destroy()
    if (status !== 200) history.recordBreach(`was answered ${status}`)
    history.recordConnection()
    let text = ''
    for await (const chunk of response.setEncoding('utf8')) {
      const events = (text + chunk).split('\n\n')
      text = events.pop()!
      for (const event of events) handleEvent(event)
    }
  }

  function handleEvent(event: string): void {
    try {
      parseEvent(event)
    } catch (error) {
      history.recordBreach(`can't read ${event}: ${error}`)
    }
  }

  function parseEvent(event: string): void {
    const field = (name: string) => new RegExp(`^${name}: ?(.*)$`, 'm').exec(event)?.[1]
    lastId = field('id') ?? lastId
    if (field('event') === 'complete') history.recordBreach('completed')
    const data = field('data')
    if (data) after = history.record(JSON.parse(data)) ?? after
  }

  const reconnectLoop = (async () => {
    while (!closing.signal.aborted) {
      // Reconnects after any end of the stream.
      await readStream().catch(() => {})
      await sleep(random.between(...RETRY_DELAY_MS), closing.signal)
    }
  })()

  return {
    dropConnection: () => connection?.destroy(),
    async close() {
      closing.abort()
      await reconnectLoop
    },
  }
}
