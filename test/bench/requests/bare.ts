/**
 * The lower bound of what the same answers cost: `node:http`, JSON in, a statement, JSON out. It parses no document.
 * Submits stay in memory.
 */
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { v7 as uuidv7 } from 'uuid'
import { MICROS_PER_USD } from '../../../src/domain/models.ts'
import { decodeIdOf, encodeId } from '../../../src/graphql/global-id.ts'
import { type BenchServer, FILE } from './bench-server.ts'
import type { OperationName } from './operations.ts'
import { encodeCursor, openRows, type Row } from './rows.ts'

const AUTHORIZATION = 'Bearer bench'

interface RequestBody {
  operationName: OperationName
  variables: { id: string; first: number; after: string | null; input: object }
}

export async function start(folder: string): Promise<BenchServer> {
  const rows = openRows(join(folder, FILE))
  const submitted = new Map<string, object>()

  const resolvers: Record<OperationName, (variables: RequestBody['variables']) => object> = {
    Read({ id }) {
      const row = rows.get(decodeIdOf('Prediction', id))
      return { prediction: row && toNode(row) }
    },
    Page({ first, after }) {
      const rowsOnPage = rows.page(first, after)
      const edges = rowsOnPage.slice(0, first).map(row => ({ cursor: encodeCursor(row), node: toNode(row) }))
      const pageInfo = { hasNextPage: rowsOnPage.length > first, endCursor: edges.at(-1)?.cursor ?? null }
      return { predictions: { edges, pageInfo } }
    },
    Submit({ input }) {
      const id = uuidv7()
      submitted.set(id, { ...input, id, status: 'QUEUED', createdAt: Date.now() })
      return { submitVideo: { prediction: { id: encodeId('Prediction', id), status: 'QUEUED' } } }
    },
  }

  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', chunk => chunks.push(chunk))
    request.on('end', () => {
      if (request.headers.authorization !== AUTHORIZATION) return response.writeHead(401).end()
      const { operationName, variables }: RequestBody = JSON.parse(Buffer.concat(chunks).toString())
      const body = Buffer.from(JSON.stringify({ data: resolvers[operationName](variables) }))
      response
        .writeHead(200, {
          'content-type': 'application/json; charset=utf-8',
          'content-length': body.length,
        })
        .end(body)
    })
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  return { port: (server.address() as AddressInfo).port, authorization: AUTHORIZATION, imageUrl: '' }
}

const toNode = ({ id, status, model, createdAt, updatedAt, tags, cost, outputs }: Row) => ({
  id: encodeId('Prediction', id),
  status,
  model,
  createdAt: new Date(createdAt).toISOString(),
  updatedAt: new Date(updatedAt).toISOString(),
  tags,
  cost: { amount: cost / MICROS_PER_USD, currency: 'USD' },
  outputs: outputs.map(({ url }) => ({ url })),
})
