/**
 * The door for upstream's webhooks.
 * Invariant: nothing of a body is believed before its signature holds, and then only that its job should be looked at.
 * A job that nobody here knows gets the same answer as one of ours.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { ErrorLog } from '../../graphql/error-mask.ts'
import { isPathSegment, predictionSchema } from '../../upstream/response-schemas.ts'
import { verifyWebhookSignature } from '../../upstream/webhook-signature.ts'
import type { WebhookIntake } from '../../workers/webhook-intake.ts'

export type WebhookEndpoint = (
  request: IncomingMessage,
  response: ServerResponse,
  token: string | null,
) => Promise<void>

/** A prediction has some hundreds of bytes, and a kilobyte for each output. */
const MAX_BODY_BYTES = 256 * 1024
/** Bodies read at once: whoever can't sign shall not fill the memory either. */
const MAX_CONCURRENT_BODIES = 64
/** Whoever sends slower is let go of. */
const BODY_TIMEOUT_MS = 5000

export function createWebhookEndpoint(options: {
  webhookIntake: Pick<WebhookIntake, 'receive'>
  webhookSecrets: readonly string[]
  now: () => number
  log: ErrorLog
}): WebhookEndpoint {
  const { webhookIntake, webhookSecrets, now, log } = options
  let bodiesInProgress = 0

  return async (request, response, token) => {
    const respond = (status: number, text = '') =>
      void response
        .writeHead(status, { 'content-type': 'text/plain', connection: 'close' })
        .end(text && `${text}\n`)
    if (request.method !== 'POST') return respond(405, 'POST only')
    if (webhookSecrets.length === 0) return respond(403, 'WAVESPEED_WEBHOOK_SECRET is not set')
    if (bodiesInProgress >= MAX_CONCURRENT_BODIES) return respond(503, 'try again')
    bodiesInProgress++
    const body = await readBody(request).finally(() => bodiesInProgress--)
    if (body === null)
      return respond(413, `at most ${MAX_BODY_BYTES} bytes, within ${BODY_TIMEOUT_MS / 1000} seconds`)

    const {
      'webhook-id': id,
      'webhook-timestamp': timestamp,
      'webhook-signature': signature,
    } = request.headers
    if (!verifyWebhookSignature({ id, timestamp, signature, body, secrets: webhookSecrets, now: now() }))
      return respond(401, 'not signed by upstream')
    const upstreamId = parseUpstreamId(body)
    if (upstreamId === '') return respond(400, 'expected a prediction')
    try {
      await webhookIntake.receive(upstreamId, token)
      respond(204)
    } catch (error) {
      // It comes again, and a look comes anyway.
      log.error({ err: error }, 'a webhook could not be taken')
      respond(503, 'try again')
    }
  }
}

/** Null if it is too long or too slow. */
async function readBody(request: IncomingMessage): Promise<Buffer | null> {
  const chunks: Buffer[] = []
  let size = 0
  const timer = setTimeout(() => request.destroy(), BODY_TIMEOUT_MS)
  try {
    for await (const chunk of request as AsyncIterable<Buffer>) {
      size += chunk.length
      if (size > MAX_BODY_BYTES) return null
      chunks.push(chunk)
    }
    return Buffer.concat(chunks)
  } catch {
    return null
  } finally {
    clearTimeout(timer)
  }
}

function parseUpstreamId(body: Buffer): string {
  try {
    const id = predictionSchema.parse(JSON.parse(body.toString()))?.id ?? ''
    return isPathSegment(id) ? id : ''
  } catch {
    return ''
  }
}
