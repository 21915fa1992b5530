/**
 * Prepares and runs the operations of every transport: parsed and validated once per document, checked, executed,
 * masked.
 * Invariant: no resolver runs before the credential and the cost are checked, and no read before the permission. Every
 * error is masked.
 */
import {
  BREAK,
  type DocumentNode,
  type ExecutionArgs,
  type ExecutionResult,
  GraphQLError,
  getOperationAST,
  OperationTypeNode,
  visit,
} from 'graphql'
import { LRUCache } from 'lru-cache'
import type { Authenticate } from '../../auth/authenticate.ts'
import type { RequestErrorCode } from '../../domain/errors.ts'
import { createContext, type Services } from '../../graphql/context.ts'
import { estimateDocumentBytes } from '../../graphql/document-size.ts'
import { type ErrorLog, limitErrors, maskError } from '../../graphql/error-mask.ts'
import { requestError } from '../../graphql/request-errors.ts'
import type { FanOut } from '../../subscriptions/fan-out.ts'
import type {
  InvalidOperation,
  OperationOutcome,
  OperationRequest,
  PreparedOperation,
  PrepareOperation,
} from './operation.ts'
import { type CostOptions, createCostCheck, measureVariables } from './query-cost.ts'
import { createYogaEngine, type Yoga } from './yoga-engine.ts'

export interface Executor {
  prepare: PrepareOperation
  /** Prepares and runs. */
  execute(request: OperationRequest): Promise<OperationOutcome>
  /** Yoga's own HTTP serves the rare kinds of requests. It runs their operations through this executor. */
  yoga: Yoga
}

export interface ExecutorOptions {
  services: Services
  fanOut: Pick<FanOut, 'subscribe'>
  authenticate: Pick<Authenticate, 'isStillValid'>
  maxMessageBytes: number
  limits: Pick<CostOptions, 'maxQueryCost' | 'maxQueryDepth'>
  allowIntrospection: boolean
  log: ErrorLog
}

/** Room for some 800 documents of common size. */
const DOCUMENT_CACHE_BYTES = 24 * 1024 * 1024
/** Counted for each document beside its nodes. Without it tens of thousands of small documents would fit. */
const DOCUMENT_OVERHEAD_BYTES = 4096

/** Validation stops after so many errors. */
const VALIDATION_OPTIONS = { maxErrors: 20 }
/** What takes over about a millisecond waits for the app's turn (measured). */
const SLICE_VALUES = 500
const SLICE_CHARACTERS = 64 * 1024
const SLICE_COST = 500
const SLICE_BYTES = 256 * 1024

interface ValidDocument {
  /** The operation reads the head of the event log before any of its fields. */
  selectsFeedCursor: boolean
}

export function createExecutor(options: ExecutorOptions): Executor {
  const { services, fanOut, authenticate, maxMessageBytes, limits, allowIntrospection, log } = options
  const { store, countRejection, nextSlice } = services

  /**
   * Key: the text. Bounded by memory: yoga's own cache counts entries, and large ones would fill the
   * heap.
   */
  const documentCache = new LRUCache<string, DocumentNode>({
    maxSize: DOCUMENT_CACHE_BYTES,
    sizeCalculation: document => DOCUMENT_OVERHEAD_BYTES + estimateDocumentBytes(document),
  })
  const validDocuments = new WeakMap<DocumentNode, ValidDocument>()
  const checkCost = createCostCheck({ ...limits, allowIntrospection })
  const yoga = createYogaEngine({ documentCache, maxMessageBytes, allowIntrospection, log })

  async function prepare(request: OperationRequest): Promise<PreparedOperation | InvalidOperation> {
    const { params, httpRequest, caller } = request
    const { schema, parse, validate, execute } = yoga.getEnveloped({
      params,
      request: httpRequest,
    } as never)
    try {
      const cached = documentCache.get(params.query ?? '')
      // Yoga's own validation rules look at the HTTP request each time.
      const isValid = cached !== undefined && validDocuments.has(cached) && httpRequest === null
      if (!isValid) await nextSlice(caller.scope.appId)
      const document: DocumentNode = isValid ? cached : parse(params.query)
      const kind = getOperationAST(document, params.operationName)?.operation
      if (kind === undefined) return { errors: [noOperationError()] }
      if (!isValid) {
        await nextSlice(caller.scope.appId)
        const errors: readonly GraphQLError[] = validate(schema, document, undefined, VALIDATION_OPTIONS)
        if (errors.length > 0) {
          documentCache.delete(params.query ?? '')
          return { errors: limitErrors(errors) }
        }
        validDocuments.set(document, { selectsFeedCursor: selectsField(document, 'feedCursor') })
      }
      // Checked again: the body may have taken half a minute to arrive.
      if (!(await authenticate.isStillValid(caller))) return { errors: [unauthenticatedError()] }
      const { variables: variableValues, operationName } = params
      const args = { schema, document, variableValues, operationName }
      return { document, kind, run: () => run(request, kind, args, execute) }
    } catch (error) {
      return { errors: limitErrors([maskError(error, log)]) }
    }
  }

  async function run(
    request: OperationRequest,
    kind: PreparedOperation['kind'],
    args: ExecutionArgs,
    execute: (args: ExecutionArgs) => Promise<ExecutionResult>,
  ): Promise<OperationOutcome> {
    const { caller, lastEventId } = request
    const { appId } = caller.scope
    // The client has disconnected and cannot read the result. A mutation runs all the same.
    if (kind === OperationTypeNode.QUERY && request.isClientGone()) return toOutcome({ data: null })
    // A mutation checks its own permission.
    if (kind !== OperationTypeNode.MUTATION && !caller.permissions.includes('READ'))
      return reject('FORBIDDEN', [requestError('FORBIDDEN')])
    try {
      const variablesSize = measureVariables(args.variableValues ?? {})
      if (variablesSize.values > SLICE_VALUES || variablesSize.characters > SLICE_CHARACTERS)
        await nextSlice(appId)
      const { errors, cost } = checkCost(args, variablesSize)
      if (errors.length > 0) {
        const isTooComplex = errors.some(({ extensions }) => extensions.code === 'QUERY_TOO_COMPLEX')
        return isTooComplex ? reject('QUERY_TOO_COMPLEX', errors) : toOutcome({ errors: limitErrors(errors) })
      }
      if (cost > SLICE_COST) await nextSlice(appId)
      const isHeadNeeded = validDocuments.get(args.document)?.selectsFeedCursor === true
      const headPosition = isHeadNeeded ? (await store.eventRange()).headPosition : undefined
      const contextValue = createContext(services, caller, { lastEventId, headPosition })
      const executionArgs = { ...args, contextValue }
      if (kind !== OperationTypeNode.SUBSCRIPTION) {
        const result = await execute(executionArgs)
        const { error, bytes } = contextValue.answerBudget
        if (error !== null) {
          error.extensions.http = { status: 400, spec: true }
          return reject('QUERY_TOO_COMPLEX', [error])
        }
        // The transport serialises the result in this turn.
        if (bytes > SLICE_BYTES) await nextSlice(appId)
        return toOutcome(result.errors ? { ...result, errors: limitErrors(result.errors) } : result)
      }
      // Not through yoga, which would wrap the subscriber: it is an async iterable.
      const started = await fanOut.subscribe(executionArgs, request)
      return 'next' in started ? { kind: 'subscription', subscription: started } : toOutcome(masked(started))
    } catch (error) {
      return toOutcome({ errors: [maskError(error, log)] })
    }

    function reject(code: RequestErrorCode, errors: readonly GraphQLError[]): OperationOutcome {
      countRejection(appId, code)
      return toOutcome({ errors })
    }
  }

  const masked = ({ errors, ...result }: ExecutionResult): ExecutionResult =>
    errors === undefined ? result : { ...result, errors: errors.map(error => maskError(error, log)) }

  return {
    prepare,
    async execute(request) {
      const operation = await prepare(request)
      return 'errors' in operation ? toOutcome(operation) : operation.run()
    },
    yoga,
  }
}

const toOutcome = (result: ExecutionResult): OperationOutcome => ({ kind: 'result', result })

function unauthenticatedError(): GraphQLError {
  const error = requestError('UNAUTHENTICATED')
  error.extensions.http = { status: 401 }
  return error
}

/** The message is yoga's own. */
const noOperationError = (): GraphQLError =>
  new GraphQLError('Could not determine what operation to execute.', {
    extensions: { code: 'OPERATION_RESOLUTION_FAILURE', http: { status: 400 } },
  })

function selectsField(document: DocumentNode, field: string): boolean {
  let found = false
  visit(document, {
    Field({ name }) {
      found ||= name.value === field
      return found ? BREAK : undefined
    },
  })
  return found
}
