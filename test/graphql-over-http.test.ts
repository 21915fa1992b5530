import { serverAudits } from 'graphql-http'
import { expect, test } from 'vitest'
import { type Harness, startGateway } from './support/gateway.ts'

let harness: Harness

const audits = serverAudits({
  url: () => harness.gateway.endpoint,
  fetchFn: (url: string, init: RequestInit = {}) =>
    harness.fetch(new URL(url).pathname + new URL(url).search, {
      ...(init as object),
      headers: { ...(init.headers as object), authorization: `Bearer ${harness.key}` },
    }),
})

test('every audit of the specification passes', async () => {
  await using started = await startGateway()
  harness = started
  expect(audits.length).toBeGreaterThan(60)
  const results = []
  for (const { fn } of audits) results.push(await fn())
  expect(results.filter(({ status }) => status !== 'ok')).toEqual([])
})
