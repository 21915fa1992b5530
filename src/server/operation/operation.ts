/**
 * An operation on its way from its transport to its result: what the transport knows, what was parsed, what
 * can be run.
 */
import type { DocumentNode, ExecutionResult, GraphQLError, OperationTypeNode } from 'graphql'
import type { Caller } from '../../auth/authenticate.ts'
import type { PayloadSink, Subscriber } from '../../subscriptions/subscription-group.ts'
import type { MultipartRequest } from '../uploads/multipart-parser.ts'

/** An authenticated request, as its transport passes it on. */
export interface TransportRequest {
  caller: Caller
  /** The client's IP address. */
  address: string
  /** Whether the client has disconnected. */
  isClientGone(): boolean
  /** Destination of a subscription's payloads. Without a sink no subscription is run. */
  sink?: PayloadSink
  /** The header `Last-Event-ID`. */
  lastEventId?: string
  /** The file of a multipart request. */
  uploadedFile?: UploadedFile
  /** Set by the executor if the operation is a subscription. The transport starts and ends it. */
  subscription?: Subscriber
  /** The result, if the operation was executed already. Yoga serialises it. */
  precomputedResult?: ExecutionResult
}

/** The file of a multipart request, and the path in its parameters where the file belongs. */
export interface UploadedFile extends Pick<MultipartRequest, 'path' | 'file'> {
  /** Gives back the upload slot, once the bytes are not needed any more. */
  release(): void
}

/** A request with its GraphQL parameters. It becomes the base of the operation's context. */
export interface OperationRequest extends TransportRequest {
  params: GraphQLParams
  /** Set if the request came through yoga's HTTP. */
  request?: Request
}

/** Types are checked, contents are not. */
export interface GraphQLParams {
  query?: string | undefined
  operationName?: string | null | undefined
  variables?: Record<string, unknown> | null | undefined
}

/** A parsed and valid operation, which may run once. */
export interface PreparedOperation {
  document: DocumentNode
  kind: OperationTypeNode
  /**
   * The result is masked. A subscription is returned unstarted. Without a sink a subscription must not be
   * run.
   */
  run(): Promise<ExecutionResult | Subscriber>
}

/** Errors found before execution. They are masked. */
export interface InvalidOperation {
  errors: readonly GraphQLError[]
}

export type PrepareOperation = (request: OperationRequest) => Promise<PreparedOperation | InvalidOperation>

/** Path of the API over HTTP and WebSocket. */
export const GRAPHQL_PATH = '/graphql'
