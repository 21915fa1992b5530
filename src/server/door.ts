/**
 * What a door knows of an operation before it runs.
 */
import type { ExecutionResult } from 'graphql'
import type { Caller } from './auth.ts'
import type { Filed } from './forms.ts'
import type { Sink, Subscriber } from './line.ts'

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

export const GRAPHQL_PATH = '/graphql'
