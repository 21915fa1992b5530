/**
 * The door for graphql-transport-ws. graphql-ws speaks the protocol, the executor is everybody's, and what a subscription
 * tells is written past both (peer.ts).
 * Invariant: what graphql-ws keeps for as long as a subscription lives, thousands of times, holds nothing of how it was
 * asked for.
 */
import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { FormattedExecutionResult, GraphQLError, GraphQLFormattedError } from 'graphql'
import { handleProtocols, makeServer } from 'graphql-ws'
import { type ServerOptions, type WebSocket, WebSocketServer } from 'ws'
import type { Authenticate } from '../../auth/authenticate.ts'
import type { RequestErrorCode } from '../../domain/errors.ts'
import type { AppId } from '../../domain/prediction.ts'
import type { Services } from '../../graphql/context.ts'
import type { ErrorLog } from '../../graphql/error-mask.ts'
import { badArgument, requestError } from '../../graphql/request-errors.ts'
import { schema } from '../../graphql/schema.ts'
import type { Rates } from '../limits/rate-limits.ts'
import type { Asked, Operation, Read } from '../operation/operation.ts'
import { rateLimited } from '../responses/error-response.ts'
import { refuseUpgrade } from '../responses/security-headers.ts'
import type { Connections } from './connection-registry.ts'
import type { Heartbeat } from './keep-alive.ts'
import { CLOSES, Peer, PeerSink } from './websocket-connection.ts'
import { stopAtFaults } from './ws-receiver-patch.ts'

export interface WebSockets {
  /** @param address the client's */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer, address: string): void
  /** Refuses whoever comes, from here on. */
  refuse(): void
  /** Closes what is left; a socket that does not answer within `graceMs` is cut. */
  close(graceMs: number): Promise<void>
}

export interface WebSocketOptions {
  read: Read
  authenticate: Authenticate
  connections: Connections
  heartbeat: Heartbeat
  rates: Pick<Rates, 'ofCaller'>
  caps: Caps
  refused: Services['refused']
  turn: Services['turn']
  log: ErrorLog & { debug(fields: object, message: string): void }
}

export interface Caps {
  messageBytes: number
  subscriptions: number
  operationsPerSecond: number
  /** For `connection_init` to come, ms. */
  initMs?: number | undefined
}

/** It stands before everything that is told. */
const LONGEST_ID = 1000
/** A peer has so long to answer its close frame. */
const GOODBYE_MS = 2000
const INIT_MS = 3000
/** Before its key is known: room for a token, and none to fill the memory. */
const MOST_BYTES_OF_A_STRANGER = 16 * 1024

export function createWebSockets(options: WebSocketOptions): WebSockets {
  const { read, authenticate, connections, heartbeat, rates, caps, log, turn } = options
  const serverOptions: ServerOptions & { closeTimeout: number } = {
    noServer: true,
    handleProtocols,
    maxPayload: caps.messageBytes,
    perMessageDeflate: false,
    closeTimeout: GOODBYE_MS,
    // The peer sends them: they count as bytes like any other.
    autoPong: false,
    // With them, an id completed and used again in one packet is completed twice.
    allowSynchronousEvents: false,
  }
  stopAtFaults()
  const server = new WebSocketServer(serverOptions)
  const manners = { operationsPerSecond: caps.operationsPerSecond, log }
  let refusing = false

  const protocol = makeServer<{ authorization?: unknown }, Peer>({
    connectionInitWaitTimeout: caps.initMs ?? INIT_MS,

    async onConnect(context) {
      const { connectionParams, extra: peer } = context
      // The key is nothing to keep in memory.
      Object.assign(context, { connectionParams: undefined })
      const refusal = await admit(peer, connectionParams?.authorization)
      if (refusal !== null) peer.closeFor(refusal)
      return refusal === null
    },

    async onSubscribe({ extra: peer, subscriptions }, id, params) {
      const { appId } = peer.caller.scope
      if (!peer.mayBegin()) return [refused(appId, 'TOO_MANY_OPERATIONS')]
      if (id.length > LONGEST_ID) return [badArgument('id', `at most ${LONGEST_ID} characters`)]
      if (Object.keys(subscriptions).length > caps.subscriptions)
        return [refused(appId, 'TOO_MANY_SUBSCRIPTIONS')]
      const slowed = await rates.ofCaller(peer.caller)
      if (slowed !== null) {
        refused(appId, 'RATE_LIMITED')
        return [rateLimited(slowed)]
      }
      await turn(appId)
      const asked: Asked = {
        ...{ caller: peer.caller, address: peer.address },
        isGone: () => !peer.isOpen,
        sink: new PeerSink(peer, id),
        params: { ...params },
      }
      const operation = await read(asked)
      const { operationName } = params
      Object.assign(params, { query: '', variables: undefined })
      if ('errors' in operation) return operation.errors
      const { document } = operation
      return { schema, document, operationName, rootValue: { operation, peer }, contextValue: null }
    },

    async execute({ rootValue }) {
      const { operation, peer } = rootValue as Running
      return (await peer.inTurn(operation.run)) ?? GONE
    },

    subscribe(args) {
      const { operation } = args.rootValue as Running
      Object.assign(args, { rootValue: null })
      return operation.run()
    },

    onNext: (_context, _id, _params, _args, result) =>
      result.errors && ({ ...result, errors: result.errors.map(withoutStatus) } as FormattedExecutionResult),
    onError: (_context, _id, _params, errors) => errors.map(withoutStatus),
  })

  function refused(app: AppId, code: RequestErrorCode): GraphQLError {
    options.refused(app, code)
    return requestError(code)
  }

  async function admit(peer: Peer, authorization: unknown): Promise<keyof typeof CLOSES | null> {
    try {
      const caller = await authenticate.who(authorization, peer.address)
      if (caller === null) return 'unauthorized'
      if ('slowed' in caller || (await rates.ofCaller(caller)) !== null) return 'try again'
      peer.caller = caller
    } catch (error) {
      log.error({ err: error }, 'a key could not be looked up')
      return 'try again'
    }
    // It may have gone meanwhile, and would never leave again.
    if (!peer.isOpen) return 'restart'
    const refusal = connections.admit(peer)
    peer.admitted = refusal === null
    peer.trust()
    return refusal
  }

  function open(client: WebSocket, socket: Socket, address: string): void {
    const peer = new Peer(client, socket, address, manners)
    peer.distrust(MOST_BYTES_OF_A_STRANGER)
    const closed = protocol.opened(peer, peer)
    heartbeat.watch(peer)
    client.on('ping', data => peer.pong(data))
    client.on('pong', () => peer.heard())
    client.on('error', broken)
    client.once('close', (code, reason) => {
      heartbeat.unwatch(peer)
      if (peer.admitted) connections.leave(peer)
      closed(code, String(reason))?.catch(error =>
        log.error({ err: error }, 'unexpected error in the close of a WebSocket'),
      )
    })
  }

  /** ws has closed it by then, with the right code. */
  const broken = (error: Error) => log.debug({ err: error }, 'a WebSocket broke the protocol')

  return {
    upgrade(request, socket, head, address) {
      if (refusing) return refuseUpgrade(socket, '503 Service Unavailable', { 'retry-after': '1' })
      server.handleUpgrade(request, socket, head, client => open(client, request.socket, address))
    },

    refuse() {
      refusing = true
    },

    async close(graceMs) {
      refusing = true
      const gone = [...server.clients].map(
        client =>
          new Promise<void>(resolve => {
            const cut = setTimeout(() => client.terminate(), graceMs)
            client.once('close', () => {
              clearTimeout(cut)
              resolve()
            })
            client.close(...CLOSES.restart)
          }),
      )
      await Promise.all(gone)
      server.close()
    },
  }
}

interface Running {
  operation: Operation
  peer: Peer
}

/** It is for HTTP alone. */
function withoutStatus(error: GraphQLError): GraphQLFormattedError {
  const { extensions, ...shown } = error.toJSON()
  const { http: _, ...others } = extensions ?? {}
  return Object.keys(others).length > 0 ? { ...shown, extensions: others } : shown
}

/** Nobody reads it. */
const GONE = { data: null }
