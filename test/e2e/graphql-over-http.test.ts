import { serverAudits } from 'graphql-http'
import { expect, test } from 'vitest'
import { type Harness, startGateway } from '../support/gateway.ts'

let harness: Harness
let jsonType: string

const audits = serverAudits({
  url: () => harness.gateway.endpoint,
  fetchFn(url: string, init: RequestInit = {}) {
    const headers: Record<string, string> = {
      ...(init.headers as object),
      authorization: `Bearer ${harness.key}`,
    }
    if (headers['content-type'] === 'application/json') headers['content-type'] = jsonType
    return harness.fetch(new URL(url).pathname + new URL(url).search, { ...(init as object), headers })
  },
})

// Only yoga treats the other type as JSON.
test.each(['application/json', 'application/graphql+json'])(
  'every audit of the specification passes with %s',
  async type => {
    await using started = await startGateway()
    harness = started
    jsonType = type
    expect(audits.length).toBeGreaterThan(60)
    const results = []
    for (const { fn } of audits) results.push(await fn())
    expect(results.filter(({ status }) => status !== 'ok')).toEqual([])
  },
)
