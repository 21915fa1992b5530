import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, test } from 'vitest'
import { createGraphqlEndpoint } from '../../../src/server/http/graphql-endpoint.ts'
import { HttpRequest } from '../../../src/server/http/http-request.ts'

test.each([
  ['waits for one more turn', 100_000, 2],
  ['does not wait again', 1000, 1],
])('%s with a body of %i bytes, before it is parsed', async (_, bytes, turns) => {
  const steps: string[] = []
  const { answerOperation } = createGraphqlEndpoint({
    admissions: { admitCaller: async () => ({ kind: 'admitted', caller: CALLER }) },
    nextSlice: async (owner: string) => void steps.push(owner),
    executor: {
      prepare: async () => {
        steps.push('parsed')
        return { kind: 'query', run: async () => ({ kind: 'result', result: { data: null } }) }
      },
    },
    bodyShares: { open: () => ({ tryRaise: () => true, release() {} }) },
    maxMessageBytes: 1_000_000,
    maxConnectionsPerApp: 10,
  } as never)
  await using server = createServer<typeof HttpRequest, typeof ServerResponse>(
    { IncomingMessage: HttpRequest },
    (request, response) => {
      request.receiveBody(response)
      void answerOperation(request, response, CLIENT)
    },
  ).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const response = await fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ query: '{ a }' }).padEnd(bytes),
  })
  expect(await response.text()).toBe('{"data":null}')
  expect(steps).toEqual([...Array(turns).fill('app'), 'parsed'])
})

const CALLER = { scope: { appId: 'app' }, grant: null, credentialHash: 'hash' } as never
const CLIENT = { network: '192.0.2.1', isForwarded: false }
