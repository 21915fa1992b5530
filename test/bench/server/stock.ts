/**
 * The stock wiring, as in yoga's documentation for subscriptions over WebSocket: yoga, its pubsub, and graphql-ws
 * with yoga's enveloped execute and subscribe. Events are plain objects, and fields have no own resolvers.
 */
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { useServer } from 'graphql-ws/use/ws'
import { createPubSub, createSchema, createYoga } from 'graphql-yoga'
import { WebSocketServer } from 'ws'
import { createEvent, type FeedEvent } from '../event.ts'
import type { BenchServer } from './bench-server.ts'

const typeDefs = `
  scalar DateTime
  scalar URL
  enum PredictionStatus { QUEUED CREATED PROCESSING COMPLETED FAILED CANCELED }
  enum PredictionEventType { QUEUED STATUS_CHANGED }
  enum FeedGapReason { CURSOR_TOO_OLD CURSOR_UNKNOWN }
  type VideoOutput { url: URL! }
  type Prediction {
    id: ID!
    status: PredictionStatus!
    tags: [String!]!
    updatedAt: DateTime!
    outputs: [VideoOutput!]!
  }
  type PredictionEvent {
    cursor: String!
    type: PredictionEventType!
    occurredAt: DateTime!
    prediction: Prediction!
  }
  type FeedCaughtUp { cursor: String! }
  type FeedGap { reason: FeedGapReason! cursor: String! }
  union PredictionFeedItem = PredictionEvent | FeedCaughtUp | FeedGap
  type Query { ok: Boolean! }
  type Subscription { predictionFeed(after: String): PredictionFeedItem! }
`

export async function start(): Promise<BenchServer> {
  const pubSub = createPubSub<{ predictionFeed: [event: FeedEvent] }>()
  const yoga = createYoga({
    schema: createSchema({
      typeDefs,
      resolvers: {
        Subscription: {
          predictionFeed: {
            subscribe: () => pubSub.subscribe('predictionFeed'),
            resolve: (event: FeedEvent) => event,
          },
        },
      },
    }),
  })
  type Enveloped = Pick<ReturnType<typeof yoga.getEnveloped>, 'execute' | 'subscribe'>

  const server = createServer(yoga)
  useServer(
    {
      execute: args => (args.rootValue as Enveloped).execute(args),
      subscribe: args => (args.rootValue as Enveloped).subscribe(args),
      onSubscribe: async (ctx, _id, params) => {
        const { schema, execute, subscribe, contextFactory, parse, validate } = yoga.getEnveloped({
          ...ctx,
          req: ctx.extra.request,
          socket: ctx.extra.socket,
          params,
        })
        const args = {
          schema,
          operationName: params.operationName,
          document: parse(params.query),
          variableValues: params.variables,
          contextValue: await contextFactory(),
          rootValue: { execute, subscribe },
        }
        const errors = validate(args.schema, args.document)
        if (errors.length) return errors
        return args
      },
    },
    new WebSocketServer({ server, path: yoga.graphqlEndpoint }),
  )
  await once(server.listen(0, '127.0.0.1'), 'listening')

  return {
    url: `ws://127.0.0.1:${(server.address() as AddressInfo).port}${yoga.graphqlEndpoint}`,
    authorization: '',
    publish(numbers) {
      for (const number of numbers) pubSub.publish('predictionFeed', createEvent(number))
    },
  }
}
