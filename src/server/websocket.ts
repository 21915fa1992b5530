/**
 * The door for graphql-transport-ws. graphql-ws speaks the protocol; the executor is everybody's.
 * Close codes: a bad key 4401, which stops a client at once; the gateway's stop 1012, after which it comes back.
 */
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { CloseCode } from 'graphql-ws'
import { useServer } from 'graphql-ws/use/ws'
import { WebSocketServer } from 'ws'
import type { Authenticate } from './auth.ts'
import { type ErrorLog, mask } from './mask.ts'
import { type Caller, MOST_BYTES, type Yoga } from './yoga.ts'

export interface WebSockets {
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void
  /** Closes every socket with 1012; one that does not answer within `graceMs` is cut. */
  close(graceMs: number): Promise<void>
}

const SERVICE_RESTART = 1012
const TRY_AGAIN_LATER = 1013

export interface WebSocketOptions {
  yoga: Yoga
  authenticate: Authenticate
  log: ErrorLog & { debug(fields: object, message: string): void }
}

export function createWebSockets({ yoga, authenticate, log }: WebSocketOptions): WebSockets {
  const server = new WebSocketServer({
    noServer: true,
    maxPayload: MOST_BYTES,
    perMessageDeflate: false,
    // With them, an id completed and used again in one packet is completed twice.
    allowSynchronousEvents: false,
  })

  useServer<{ authorization?: unknown }, Partial<Caller>>(
    {
      // A close reason never carries an error's own words.
      isProd: true,

      async onConnect({ connectionParams, extra }) {
        try {
          const appId = await authenticate(connectionParams?.authorization)
          if (appId !== null) extra.appId = appId
          else extra.socket.close(CloseCode.Unauthorized, 'Unauthorized')
          return appId !== null
        } catch (error) {
          log.error({ err: error }, 'a key could not be looked up')
          extra.socket.close(TRY_AGAIN_LATER, 'Try again later')
          return false
        }
      },

      async onSubscribe({ extra }, _id, params) {
        const { schema, parse, validate, execute, subscribe, contextFactory } = yoga.getEnveloped({
          appId: extra.appId,
          params,
        })
        try {
          const document = parse(params.query)
          const errors = validate(schema, document)
          if (errors.length > 0) return errors
          return {
            schema,
            document,
            operationName: params.operationName,
            variableValues: params.variables,
            contextValue: await contextFactory(),
            rootValue: { execute, subscribe },
          }
        } catch (error) {
          return [mask(error, log)]
        }
      },

      execute: ({ rootValue, ...args }) => (rootValue as Enveloped).execute(args),
      subscribe: ({ rootValue, ...args }) => (rootValue as Enveloped).subscribe(args),
    },
    server,
  )

  // graphql-ws would print a stack for every frame that breaks the protocol, and hears one error only: a second would
  // end the process. ws closes such a socket by itself, with the right code.
  server.on('connection', client => {
    client.removeAllListeners('error')
    client.on('error', error => log.debug({ err: error }, 'a WebSocket broke the protocol'))
  })

  return {
    upgrade(request, socket, head) {
      server.handleUpgrade(request, socket, head, client => server.emit('connection', client, request))
    },

    async close(graceMs) {
      const gone = [...server.clients].map(
        client =>
          new Promise<void>(resolve => {
            const cut = setTimeout(() => client.terminate(), graceMs)
            client.once('close', () => {
              clearTimeout(cut)
              resolve()
            })
            client.close(SERVICE_RESTART, 'Service restart')
          }),
      )
      await Promise.all(gone)
      server.close()
    },
  }
}

type Enveloped = Pick<ReturnType<Yoga['getEnveloped']>, 'execute' | 'subscribe'>
