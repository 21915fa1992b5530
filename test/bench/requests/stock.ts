/**
 * The stock wiring, as in yoga's documentation: a schema of type definitions and resolvers, with default settings. It
 * does not authenticate, and reads the same rows with the same statements as the bare server. Submits stay in memory.
 */
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { GraphQLScalarType } from 'graphql'
import { createSchema, createYoga } from 'graphql-yoga'
import { v7 as uuidv7 } from 'uuid'
import { MICROS_PER_USD } from '../../../src/domain/models.ts'
import { decodeIdOf, encodeId } from '../../../src/graphql/global-id.ts'
import { type BenchServer, FILE } from './bench-server.ts'
import { encodeCursor, openRows, type Row } from './rows.ts'

const typeDefs = `
  scalar DateTime
  scalar URL
  enum PredictionStatus { QUEUED CREATED PROCESSING COMPLETED FAILED CANCELED }
  enum VideoModel { WAN_2_2_I2V_PLUS_1080P WAN_2_2_I2V_PLUS_480P }
  type Cost { amount: Float! currency: String! }
  type VideoOutput { url: URL! }
  type Prediction {
    id: ID!
    status: PredictionStatus!
    model: VideoModel!
    createdAt: DateTime!
    updatedAt: DateTime!
    tags: [String!]!
    cost: Cost!
    outputs: [VideoOutput!]!
  }
  type PredictionEdge { cursor: String! node: Prediction! }
  type PageInfo { hasNextPage: Boolean! endCursor: String }
  type PredictionConnection { edges: [PredictionEdge!]! pageInfo: PageInfo! }
  type Query {
    prediction(id: ID!): Prediction
    predictions(first: Int, after: String): PredictionConnection!
  }
  input ImageInput { url: URL }
  input SubmitVideoInput {
    model: VideoModel! = WAN_2_2_I2V_PLUS_1080P
    image: ImageInput!
    prompt: String!
    duration: Int! = 5
    tags: [String!]
  }
  interface Error { code: String! message: String! }
  type InvalidInputError implements Error { code: String! message: String! }
  type SubmitVideoPayload { prediction: Prediction! }
  union SubmitVideoResult = SubmitVideoPayload | InvalidInputError
  type Mutation { submitVideo(input: SubmitVideoInput!): SubmitVideoResult! }
`

interface SubmitInput {
  model: string
  prompt: string
  tags?: string[] | null
}

export async function start(folder: string): Promise<BenchServer> {
  const rows = openRows(join(folder, FILE))
  const submitted = new Map<string, Row & SubmitInput>()

  const yoga = createYoga({
    schema: createSchema({
      typeDefs,
      resolvers: {
        DateTime: new GraphQLScalarType<number, string>({
          name: 'DateTime',
          serialize: ms => new Date(ms as number).toISOString(),
        }),
        Query: {
          prediction: (_root, { id }: { id: string }) => rows.get(decodeIdOf('Prediction', id)),
          predictions(_root, { first, after }: { first: number; after: string | null }) {
            const rowsOnPage = rows.page(first, after)
            const edges = rowsOnPage.slice(0, first).map(row => ({ cursor: encodeCursor(row), node: row }))
            const pageInfo = {
              hasNextPage: rowsOnPage.length > first,
              endCursor: edges.at(-1)?.cursor ?? null,
            }
            return { edges, pageInfo }
          },
        },
        Prediction: {
          id: ({ id }: Row) => encodeId('Prediction', id),
          cost: ({ cost }: Row) => ({ amount: cost / MICROS_PER_USD, currency: 'USD' }),
        },
        Mutation: {
          submitVideo(_root, { input }: { input: SubmitInput }) {
            if (input.prompt.trim() === '')
              return { __typename: 'InvalidInputError', code: 'INVALID_INPUT', message: 'expected some text' }
            const now = Date.now()
            const id = uuidv7()
            const timestamps = { createdAt: now, updatedAt: now }
            const row = { ...input, id, status: 'QUEUED', ...timestamps, cost: 800_000, outputs: [] }
            const prediction = { ...row, tags: input.tags ?? [] }
            submitted.set(id, prediction)
            return { __typename: 'SubmitVideoPayload', prediction }
          },
        },
      },
    }),
  })
  const server = createServer(yoga)
  await once(server.listen(0, '127.0.0.1'), 'listening')
  return { port: (server.address() as AddressInfo).port, authorization: 'Bearer bench', imageUrl: '' }
}
