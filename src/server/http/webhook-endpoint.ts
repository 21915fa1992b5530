/**
 * HTTP endpoint of upstream's webhooks.
 * Invariant: a body is trusted only after its signature is verified, and then only as a hint to poll its job.
 * Unknown jobs get the same response as known ones.
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

/** A prediction has some hundred bytes, and a kilobyte for each output. */
const MAX_BODY_BYTES = 256 * 1024
/** Max bodies read at once, so that unsigned requests cannot fill the memory. Above it: 503. */
const MAX_CONCURRENT_BODIES = 64
/** Time to receive a body. After it: the connection is closed. */
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
      // Upstream sends the webhook again, and the job is polled in any case.
      log.error({ err: error }, 'webhook intake failed')
      respond(503, 'try again')
    }
  }
}

/** Null: too long, or too slow. */
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
