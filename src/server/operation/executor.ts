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
import { type ErrorLog, maskError } from '../../graphql/error-mask.ts'
import { requestError } from '../../graphql/request-errors.ts'
import type { FanOut } from '../../subscriptions/fan-out.ts'
import type {
  InvalidOperation,
  OperationOutcome,
  OperationRequest,
  PreparedOperation,
  PrepareOperation,
} from './operation.ts'
import { type CostOptions, createCostCheck } from './query-cost.ts'
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

interface ValidDocument {
  /** The operation reads the head of the event log before any of its fields. */
  selectsFeedCursor: boolean
}

export function createExecutor(options: ExecutorOptions): Executor {
  const { services, fanOut, authenticate, maxMessageBytes, limits, allowIntrospection, log } = options
  const { store, countRejection } = services

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
      const document: DocumentNode = isValid ? cached : parse(params.query)
      const kind = getOperationAST(document, params.operationName)?.operation
      if (kind === undefined) return { errors: [noOperationError()] }
      if (!isValid) {
        const errors = validate(schema, document)
        if (errors.length > 0) {
          documentCache.delete(params.query ?? '')
          return { errors }
        }
        validDocuments.set(document, { selectsFeedCursor: selectsField(document, 'feedCursor') })
      }
      // Checked again: the body may have taken half a minute to arrive.
      if (!(await authenticate.isStillValid(caller))) return { errors: [unauthenticatedError()] }
      const { variables: variableValues, operationName } = params
      const args = { schema, document, variableValues, operationName }
      return { document, kind, run: () => run(request, kind, args, execute) }
    } catch (error) {
      return { errors: [maskError(error, log)] }
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
      const costErrors = checkCost(args)
      if (costErrors.length > 0) {
        const isTooComplex = costErrors.some(({ extensions }) => extensions.code === 'QUERY_TOO_COMPLEX')
        return isTooComplex ? reject('QUERY_TOO_COMPLEX', costErrors) : toOutcome({ errors: costErrors })
      }
      const isHeadNeeded = validDocuments.get(args.document)?.selectsFeedCursor === true
      const headPosition = isHeadNeeded ? (await store.eventRange()).headPosition : undefined
      const contextValue = createContext(services, caller, { lastEventId, headPosition })
      const executionArgs = { ...args, contextValue }
      if (kind !== OperationTypeNode.SUBSCRIPTION)
        return { kind: 'result', result: await execute(executionArgs) }
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
