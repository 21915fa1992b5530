/**
 * An event stream without a client library, to see what such a library would hide: the text as it arrives, and how it
 * ends.
 */
import type { Harness } from './gateway.ts'

export interface EventStreamRequest {
  query: string
  variables?: object
  key?: string
  headers?: Record<string, string>
}

export async function openEventStream(
  harness: Harness,
  { query, variables, key = harness.key, headers }: EventStreamRequest,
) {
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
  const streamed = { response, text: '', ended: Promise.resolve('') }
  streamed.ended = (async () => {
    for await (const chunk of response.body!) streamed.text += Buffer.from(chunk)
    return 'ended'
  })().catch(() => 'cut')
  return streamed
}
