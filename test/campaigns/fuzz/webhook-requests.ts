/**
 * Random webhooks: any body, with valid, nearly valid or missing signatures.
 */
import { createHmac } from 'node:crypto'
import fc from 'fast-check'
import { edgeCases } from './edge-case-values.ts'
import { textFaults } from './response-check.ts'
import { type FuzzScenario, RESPONSE_TIMEOUT_MS, WEBHOOK_SECRET } from './scenario.ts'

export interface WebhookRequest {
  query: string
  method: string
  headers: Record<string, string>
  body: string
}

const ALLOWED_STATUSES = new Set([204, 400, 401, 405, 413])

export const webhookRequests = (issuedWebhooks: FuzzScenario['webhooks']): fc.Arbitrary<WebhookRequest> =>
  fc
    .record({
      issued: fc.constantFrom(...issuedWebhooks),
      query: fc.option(
        fc.oneof(
          fc.constantFrom('', '?p=', '?p=a&p=b', '?p=%ff%00', '?p=__proto__', '??&='),
          fc.webQueryParameters().map(text => `?p=${text}`),
        ),
      ),
      method: fc.constantFrom('POST', 'POST', 'POST', 'POST', 'PUT', 'DELETE'),
      fields: fc.record(
        {
          id: fc.oneof(fc.constantFrom(...issuedWebhooks.map(({ upstreamId }) => upstreamId)), edgeCases),
          status: fc.oneof(
            fc.constantFrom('created', 'processing', 'completed', 'failed', 'timeout'),
            edgeCases,
          ),
          outputs: fc.oneof(fc.constantFrom([], ['https://x.example/1.mp4'], ['javascript:1']), edgeCases),
          has_nsfw_contents: edgeCases,
          error: edgeCases,
          timings: edgeCases,
          executionTime: edgeCases,
          created_at: fc.oneof(fc.constant('2026-01-31T12:00:00Z'), edgeCases),
        },
        { requiredKeys: [] },
      ),
      raw: fc.option(
        fc.oneof(
          fc.string({ unit: 'binary' }),
          fc.json(),
          fc.constantFrom('[[['.repeat(20_000), 'x'.repeat(300_000)),
        ),
      ),
      isWrapped: fc.boolean(),
      id: fc.oneof(
        { weight: 4, arbitrary: fc.constant('msg-1') },
        fc.constantFrom('', 'a.b', 'é', 'x'.repeat(300)),
      ),
      ageSeconds: fc.oneof(
        { weight: 4, arbitrary: fc.constant(0) },
        fc.constantFrom(1e9, -1e12, Number.NaN, 299.5, 301),
      ),
      sign: fc.oneof(
        { weight: 5, arbitrary: fc.constant((right: string) => `v3,${right}`) },
        fc.constantFrom<(right: string) => string>(
          right => right,
          right => `v3,${right.slice(1)}0`,
          right => `v3,${right.toUpperCase()}`,
          right => `v1,${right}`,
          right => `v3,${right} v3,${right}`,
          () => '',
          () => 'v3,',
        ),
      ),
    })
    .map(({ issued, query, method, fields, raw, isWrapped, id, ageSeconds, sign }) => {
      const body = raw ?? JSON.stringify(isWrapped ? { code: 200, message: 'success', data: fields } : fields)
      const timestamp = `${Math.floor(Date.now() / 1000 - ageSeconds)}`
      const key = WEBHOOK_SECRET.replace(/^whsec_/, '')
      const validSignature = createHmac('sha256', key).update(`${id}.${timestamp}.${body}`).digest('hex')
      const headers = {
        'webhook-id': Buffer.from(id).toString('latin1'),
        'webhook-timestamp': timestamp,
        'webhook-signature': sign(validSignature),
      }
      return { query: query ?? issued.query, method, headers, body }
    })

export async function sendWebhook(
  { harness }: FuzzScenario,
  { query, ...init }: WebhookRequest,
): Promise<string[]> {
  const signal = AbortSignal.timeout(RESPONSE_TIMEOUT_MS)
  const response = await harness.fetch(`/webhooks/wavespeed${query}`, { ...init, signal })
  const faults = textFaults(await response.text())
  return ALLOWED_STATUSES.has(response.status) ? faults : [...faults, `status ${response.status}`]
}
