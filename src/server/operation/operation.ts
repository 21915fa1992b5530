/**
 * What a door knows of an operation before it runs.
 */
import type { DocumentNode, ExecutionResult, GraphQLError, OperationTypeNode } from 'graphql'
import type { Caller } from '../../auth/authenticate.ts'
import type { PayloadSink, Subscriber } from '../../subscriptions/subscription-group.ts'
import type { MultipartRequest } from '../uploads/multipart-parser.ts'

export interface TransportRequest {
  caller: Caller
  /** The client's. */
  address: string
  /** Whoever asked has gone. */
  isClientGone(): boolean
  /** Where a subscription's payloads go; a door without one runs none. */
  sink?: PayloadSink
  lastEventId?: string
  /** The file that came with it. */
  uploadedFile?: UploadedFile
  /** What came of it, where it is a subscription: the door begins it, and ends it. */
  subscription?: Subscriber
  /** What came of it already, for yoga to put into words. */
  precomputedResult?: ExecutionResult
}

/** What a door knows of a form. */
export interface UploadedFile extends Pick<MultipartRequest, 'path' | 'file'> {
  /** Its bytes are needed no more. */
  release(): void
}

/** It becomes the operation's context. */
export interface OperationRequest extends TransportRequest {
  params: GraphQLParams
  /** Where it came through yoga's HTTP. */
  request?: Request
}

/** As they came: of the right types. */
export interface GraphQLParams {
  query?: string | undefined
  operationName?: string | null | undefined
  variables?: Record<string, unknown> | null | undefined
}

/** An operation that may run, once. */
export interface PreparedOperation {
  document: DocumentNode
  kind: OperationTypeNode
  /** Masked. A subscription is there, and has not begun; not for a door without a sink. */
  run(): Promise<ExecutionResult | Subscriber>
}

export interface InvalidOperation {
  errors: readonly GraphQLError[]
}

export type PrepareOperation = (request: OperationRequest) => Promise<PreparedOperation | InvalidOperation>

export const GRAPHQL_PATH = '/graphql'
