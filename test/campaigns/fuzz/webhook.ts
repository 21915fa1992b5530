/**
 * Random webhooks: bodies of any kind under signatures that are right, nearly right and none.
 */
import { createHmac } from 'node:crypto'
import fc from 'fast-check'
import { type Arena, PATIENCE_MS, WEBHOOK_SECRET } from './arena.ts'
import { strange } from './strange.ts'
import { faultsOf } from './verdict.ts'

export interface Delivery {
  query: string
  method: string
  headers: Record<string, string>
  body: string
}

const ANSWERS = new Set([204, 400, 401, 405, 413])

export const deliveries = (known: Arena['webhooks']): fc.Arbitrary<Delivery> =>
  fc
    .record({
      one: fc.constantFrom(...known),
      query: fc.option(
        fc.oneof(
          fc.constantFrom('', '?p=', '?p=a&p=b', '?p=%ff%00', '?p=__proto__', '??&='),
          fc.webQueryParameters().map(text => `?p=${text}`),
        ),
      ),
      method: fc.constantFrom('POST', 'POST', 'POST', 'POST', 'PUT', 'DELETE'),
      fields: fc.record(
        {
          id: fc.oneof(fc.constantFrom(...known.map(({ upstreamId }) => upstreamId)), strange),
          status: fc.oneof(
            fc.constantFrom('created', 'processing', 'completed', 'failed', 'timeout'),
            strange,
          ),
          outputs: fc.oneof(fc.constantFrom([], ['https://x.example/1.mp4'], ['javascript:1']), strange),
          has_nsfw_contents: strange,
          error: strange,
          timings: strange,
          executionTime: strange,
          created_at: fc.oneof(fc.constant('2026-01-31T12:00:00Z'), strange),
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
      wraps: fc.boolean(),
      id: fc.oneof(
        { weight: 4, arbitrary: fc.constant('msg-1') },
        fc.constantFrom('', 'a.b', 'é', 'x'.repeat(300)),
      ),
      lateS: fc.oneof(
        { weight: 4, arbitrary: fc.constant(0) },
        fc.constantFrom(1e9, -1e12, Number.NaN, 299.5, 301),
      ),
      signs: fc.oneof(
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
    .map(({ one, query, method, fields, raw, wraps, id, lateS, signs }) => {
      const body = raw ?? JSON.stringify(wraps ? { code: 200, message: 'success', data: fields } : fields)
      const timestamp = `${Math.floor(Date.now() / 1000 - lateS)}`
      const key = WEBHOOK_SECRET.replace(/^whsec_/, '')
      const right = createHmac('sha256', key).update(`${id}.${timestamp}.${body}`).digest('hex')
      const headers = {
        'webhook-id': Buffer.from(id).toString('latin1'),
        'webhook-timestamp': timestamp,
        'webhook-signature': signs(right),
      }
      return { query: query ?? one.query, method, headers, body }
    })

export async function deliver({ harness }: Arena, { query, ...init }: Delivery): Promise<string[]> {
  const signal = AbortSignal.timeout(PATIENCE_MS)
  const response = await harness.fetch(`/webhooks/wavespeed${query}`, { ...init, signal })
  const faults = faultsOf(await response.text())
  return ANSWERS.has(response.status) ? faults : [...faults, `it is a ${response.status}`]
}
