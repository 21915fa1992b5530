/**
 * What a door knows of an operation before it runs.
 */
import type { DocumentNode, ExecutionResult, GraphQLError, OperationTypeNode } from 'graphql'
import type { Caller } from '../../auth/authenticate.ts'
import type { Sink, Subscriber } from '../../subscriptions/subscription-group.ts'
import type { Form } from '../uploads/multipart-parser.ts'

export interface Door {
  caller: Caller
  /** The client's. */
  address: string
  /** Whoever asked has gone. */
  isGone(): boolean
  /** Where a subscription's payloads go; a door without one runs none. */
  sink?: Sink
  lastEventId?: string
  /** The file that came with it. */
  filed?: Filed
  /** What came of it, where it is a subscription: the door begins it, and ends it. */
  subscription?: Subscriber
  /** What came of it already, for yoga to put into words. */
  answer?: ExecutionResult
}

/** What a door knows of a form. */
export interface Filed extends Pick<Form, 'path' | 'file'> {
  /** Its bytes are needed no more. */
  leave(): void
}

/** It becomes the operation's context. */
export interface Asked extends Door {
  params: Params
  /** Where it came through yoga's HTTP. */
  request?: Request
}

/** As they came: of the right types. */
export interface Params {
  query?: string | undefined
  operationName?: string | null | undefined
  variables?: Record<string, unknown> | null | undefined
}

/** An operation that may run, once. */
export interface Operation {
  document: DocumentNode
  kind: OperationTypeNode
  /** Masked. A subscription is there, and has not begun; not for a door without a sink. */
  run(): Promise<ExecutionResult | Subscriber>
}

export interface Unreadable {
  errors: readonly GraphQLError[]
}

export type Read = (asked: Asked) => Promise<Operation | Unreadable>

export const GRAPHQL_PATH = '/graphql'
