/**
 * A reader of server-sent events, and how it resumes: until the stream has given an id, with the cursor of the last item
 * as `after`; from then on with `Last-Event-ID` and the body as it was at first.
 * Invariant: an event counts once its blank line is there; what a cut left of one is thrown away.
 */
import type { ClientRequest } from 'node:http'
import { post } from '../../support/post.ts'
import { rest } from '../../support/rest.ts'
import { type Question, RETRY_MS, type Watcher } from './watcher.ts'

export function watchOverSse({ url, key, document, variables, diary, random }: Question): Watcher {
  const leaving = new AbortController()
  let connection: ClientRequest | null = null
  let lastId: string | null = null
  let after = variables.after

  async function read(): Promise<void> {
    const resumed = lastId === null ? { after } : {}
    const body = { query: document, variables: { ...variables, ...resumed } }
    const headers = { accept: 'text/event-stream', ...(lastId !== null && { 'last-event-id': lastId }) }
    const posted = post(url, key, body, headers, leaving.signal)
    connection = posted.connection
    const response = await posted.response
    const status = response.statusCode ?? 0
    // A gateway that comes, goes or has too much to do is asked again.
    if (status === 429 || status >= 500) return void response.destroy()
    if (status !== 200) diary.fail(`was answered ${status}`)
    diary.connected()
    let text = ''
    for await (const chunk of response.setEncoding('utf8')) {
      const events = (text + chunk).split('\n\n')
      text = events.pop()!
      for (const event of events) hear(event)
    }
  }

  function hear(event: string): void {
    try {
      take(event)
    } catch (error) {
      diary.fail(`can't read ${event}: ${error}`)
    }
  }

  function take(event: string): void {
    const field = (name: string) => new RegExp(`^${name}: ?(.*)$`, 'm').exec(event)?.[1]
    lastId = field('id') ?? lastId
    if (field('event') === 'complete') diary.fail('completed')
    const data = field('data')
    if (data) after = diary.take(JSON.parse(data)) ?? after
  }

  const gone = (async () => {
    while (!leaving.signal.aborted) {
      // Whatever ended the stream, the next one goes on behind it.
      await read().catch(() => {})
      await rest(random.between(...RETRY_MS), leaving.signal)
    }
  })()

  return {
    drop: () => connection?.destroy(),
    async close() {
      leaving.abort()
      await gone
    },
  }
}
