/**
 * An event stream by hand, for what a client would hide: its text as it comes, and how it ends.
 */
import type { Harness } from './gateway.ts'

export interface Asked {
  query: string
  variables?: object
  key?: string
  headers?: Record<string, string>
}

export async function stream(harness: Harness, { query, variables, key = harness.key, headers }: Asked) {
  const response = await harness.fetch('/graphql', {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      accept: 'text/event-stream',
      authorization: `Bearer ${key}`,
      ...headers,
    },
    body: JSON.stringify({ query, variables }),
  })
  const read = { response, text: '', ended: Promise.resolve('') }
  read.ended = (async () => {
    for await (const chunk of response.body!) read.text += Buffer.from(chunk)
    return 'ended'
  })().catch(() => 'cut')
  return read
}
