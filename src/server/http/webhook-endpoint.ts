/**
 * HTTP endpoint of upstream's webhooks. Anybody may send a request to it.
 * Invariant: no request without the headers of a signature is read, and no number of other requests keeps a short signed
 * one from being read. A body is trusted only after its signature is verified, and then only as a hint to poll its job.
 * Unknown jobs get the same response as known ones.
 */
import type { ServerResponse } from 'node:http'
import type { ErrorLog } from '../../graphql/error-mask.ts'
import { isPathSegment, predictionSchema } from '../../upstream/response-schemas.ts'
import { hasSignatureHeaders, verifyWebhookSignature } from '../../upstream/webhook-signature.ts'
import type { WebhookIntake } from '../../workers/webhook-intake.ts'
import { createBodyShares } from '../limits/body-shares.ts'
import type { HttpRequest } from './http-request.ts'

export type WebhookEndpoint = (
  request: HttpRequest,
  response: ServerResponse,
  network: string,
  token: string | null,
) => Promise<void>

/** A prediction has some hundred bytes, and a kilobyte for each output. */
const MAX_BODY_BYTES = 256 * 1024
/** 16 MB in all, 2 MB of a client network. Above it: 503. */
const SHARES = { maxBodyBytes: MAX_BODY_BYTES, total: 64, reserved: 32, perOwner: 8, perMember: 8 }
/** Time to receive a body. After it: 408, and the connection is closed. */
const BODY_TIMEOUT_MS = 5000

export function createWebhookEndpoint(options: {
  webhookIntake: Pick<WebhookIntake, 'receive'>
  webhookSecrets: readonly string[]
  now: () => number
  log: ErrorLog
}): WebhookEndpoint {
  const { webhookIntake, webhookSecrets, now, log } = options
  const bodyShares = createBodyShares(SHARES)

  return async (request, response, network, token) => {
    const respond = (status: number, text = '') =>
      void response.writeHead(status, { 'content-type': 'text/plain' }).end(text && `${text}\n`)
    if (request.method !== 'POST') return respond(405, 'POST only')
    if (webhookSecrets.length === 0) return respond(403, 'WAVESPEED_WEBHOOK_SECRET is not set')
    const {
      'webhook-id': id,
      'webhook-timestamp': timestamp,
      'webhook-signature': signature,
      'content-encoding': encoding = 'identity',
    } = request.headers
    const headers = { id, timestamp, signature, now: now() }
    if (!hasSignatureHeaders(headers)) return respond(401, NOT_SIGNED)
    if (encoding !== 'identity') return respond(415, 'a compressed body is not read')
    if (request.declaredBytes > MAX_BODY_BYTES) return respond(413, TOO_LARGE)
    const openShare = () => bodyShares.open(network, null)
    const received = await request.readBody({ maxBytes: MAX_BODY_BYTES, openShare, graceMs: BODY_TIMEOUT_MS })
    if (received.kind === 'aborted') return
    if (received.kind !== 'complete') return respond(...BODY_ERRORS[received.kind])
    const { bytes: body } = received
    if (!verifyWebhookSignature({ ...headers, body, secrets: webhookSecrets }))
      return respond(401, NOT_SIGNED)
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

const NOT_SIGNED = 'not signed by upstream'
const TOO_LARGE = `at most ${MAX_BODY_BYTES} bytes`
const BODY_ERRORS: Readonly<Record<'too large' | 'too slow' | 'over share', [status: number, text: string]>> =
  {
    'too large': [413, TOO_LARGE],
    'too slow': [408, `within ${BODY_TIMEOUT_MS / 1000} seconds`],
    'over share': [503, 'try again'],
  }

function parseUpstreamId(body: Buffer): string {
  try {
    const id = predictionSchema.parse(JSON.parse(body.toString()))?.id ?? ''
    return isPathSegment(id) ? id : ''
  } catch {
    return ''
  }
}
