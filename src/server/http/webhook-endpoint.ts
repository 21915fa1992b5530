/**
 * The door for upstream's webhooks.
 * Invariant: nothing of a body is believed before its signature holds, and then only that its job should be looked at.
 * A job that nobody here knows gets the same answer as one of ours.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { ErrorLog } from '../../graphql/error-mask.ts'
import { isPathSegment, prediction } from '../../upstream/response-schemas.ts'
import { verify } from '../../upstream/webhook-signature.ts'
import type { Receiver } from '../../workers/webhook-intake.ts'

export type Webhook = (
  request: IncomingMessage,
  response: ServerResponse,
  token: string | null,
) => Promise<void>

/** A prediction has some hundreds of bytes, and a kilobyte for each output. */
const MOST_BYTES = 256 * 1024
/** Bodies read at once: whoever can't sign shall not fill the memory either. */
const MOST_AT_ONCE = 64
/** Whoever sends slower is let go of. */
const BODY_MS = 5000

export function createWebhook(options: {
  receiver: Pick<Receiver, 'receive'>
  secrets: readonly string[]
  now: () => number
  log: ErrorLog
}): Webhook {
  const { receiver, secrets, now, log } = options
  let reading = 0

  return async (request, response, token) => {
    const answer = (status: number, text = '') =>
      void response
        .writeHead(status, { 'content-type': 'text/plain', connection: 'close' })
        .end(text && `${text}\n`)
    if (request.method !== 'POST') return answer(405, 'POST only')
    if (secrets.length === 0) return answer(403, 'WAVESPEED_WEBHOOK_SECRET is not set')
    if (reading >= MOST_AT_ONCE) return answer(503, 'try again')
    reading++
    const body = await bodyOf(request).finally(() => reading--)
    if (body === null) return answer(413, `at most ${MOST_BYTES} bytes, within ${BODY_MS / 1000} seconds`)

    const {
      'webhook-id': id,
      'webhook-timestamp': timestamp,
      'webhook-signature': signature,
    } = request.headers
    if (!verify({ id, timestamp, signature, body, secrets, now: now() }))
      return answer(401, 'not signed by upstream')
    const upstreamId = idIn(body)
    if (upstreamId === '') return answer(400, 'expected a prediction')
    try {
      await receiver.receive(upstreamId, token)
      answer(204)
    } catch (error) {
      // It comes again, and a look comes anyway.
      log.error({ err: error }, 'a webhook could not be taken')
      answer(503, 'try again')
    }
  }
}

/** Null if it is too long or too slow. */
async function bodyOf(request: IncomingMessage): Promise<Buffer | null> {
  const chunks: Buffer[] = []
  let size = 0
  const late = setTimeout(() => request.destroy(), BODY_MS)
  try {
    for await (const chunk of request as AsyncIterable<Buffer>) {
      size += chunk.length
      if (size > MOST_BYTES) return null
      chunks.push(chunk)
    }
    return Buffer.concat(chunks)
  } catch {
    return null
  } finally {
    clearTimeout(late)
  }
}

function idIn(body: Buffer): string {
  try {
    const id = prediction.parse(JSON.parse(body.toString()))?.id ?? ''
    return isPathSegment(id) ? id : ''
  } catch {
    return ''
  }
}
