/**
 * An operation as a value: what its transport passes in, what is prepared, what comes of it.
 * Invariant: none of these values changes once it was made.
 */
import type { DocumentNode, ExecutionResult, GraphQLError, OperationTypeNode } from 'graphql'
import type { Caller } from '../../auth/authenticate.ts'
import type { OperationSink, Subscriber } from '../../subscriptions/subscription-group.ts'

/** An operation of an authenticated client. */
export interface OperationRequest {
  readonly caller: Caller
  readonly params: GraphQLParams
  /** Whether the client has disconnected. */
  isClientGone(): boolean
  /** Opens the destination of a subscription's payloads. Other operations return their result. */
  openSink(): OperationSink
  /** The header `Last-Event-ID`. It takes precedence over the feed's `after`. */
  readonly lastEventId: string | null
  /** Set if yoga's HTTP has parsed the parameters: yoga rejects some operations by the method of the request. */
  readonly httpRequest: Request | null
}

/** Types are checked, contents are not. */
export interface GraphQLParams {
  readonly query?: string | undefined
  readonly operationName?: string | null | undefined
  readonly variables?: Record<string, unknown> | null | undefined
}

/** A parsed and valid operation, which may run once. */
export interface PreparedOperation {
  readonly document: DocumentNode
  readonly kind: OperationTypeNode
  run(): Promise<OperationOutcome>
}

/** Errors found before execution. They are masked. */
export interface InvalidOperation {
  readonly errors: readonly GraphQLError[]
}

/** The result of an operation, with masked errors, or its subscriber, which has not started yet. */
export type OperationOutcome =
  | { readonly kind: 'result'; readonly result: ExecutionResult }
  | { readonly kind: 'subscription'; readonly subscription: Subscriber }

export type PrepareOperation = (request: OperationRequest) => Promise<PreparedOperation | InvalidOperation>

/** Path of the API over HTTP and WebSocket. */
export const GRAPHQL_PATH = '/graphql'
