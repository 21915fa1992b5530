/**
 * A subscription's operation, shared by all subscribers with the same document, operation name, variables
 * (without the feed's `after`) and access scope; and its execution for each event.
 * Invariant: subscribers share an operation only if every selected field has the same value for all of them.
 * The scope is part of the key. A field marked PER_SUBSCRIBER makes the operation unshared.
 */
import { createHash } from 'node:crypto'
import {
  type DocumentNode,
  type ExecutionArgs,
  type ExecutionResult,
  execute,
  type GraphQLError,
  type GraphQLSchema,
  getOperationAST,
  Kind,
  parse,
  TypeInfo,
  visit,
  visitWithTypeInfo,
} from 'graphql'
import { LRUCache } from 'lru-cache'
import { stringify } from 'safe-stable-stringify'
import type { PredictionEvent } from '../domain/prediction.ts'
import type { FeedMessage, SubscriptionSource } from '../events/subscription-source.ts'
import { AnswerBudget, MAX_PAYLOAD_BYTES } from '../graphql/answer-budget.ts'
import { PER_SUBSCRIBER } from '../graphql/builder.ts'
import type { Context } from '../graphql/context.ts'
import { estimateDocumentBytes } from '../graphql/document-size.ts'
import { type ErrorLog, limitErrors, maskError } from '../graphql/error-mask.ts'
import { badArgument } from '../graphql/request-errors.ts'

/** A message of the feed, executed and serialised. */
export interface Payload {
  /** `{"data":…}`, followed by the brace that closes the `next` message around it. */
  json: Buffer
  cursor: string | null
  isLast: boolean
}

export interface SharedOperation {
  /** Subscribers with an equal key share the operation. A symbol is never shared. */
  key: string | symbol
  /** The app of all its subscribers. */
  appId: string
  /**
   * Owner of its messages in the fair scheduler. Messages take turns with the requests of their app, so a request does
   * not wait for all of its subscribers.
   */
  sliceOwner: string
  /** Failed fields are masked and logged. Synchronous unless a field is asynchronous. */
  execute(item: FeedMessage): Payload | Promise<Payload>
  /** Approximate bytes that it holds of its request. */
  heldBytes: number
}

/**
 * Documents of live subscriptions, by text. A parsed document may take 240 times the memory of its text, so an operation
 * keeps the text, and a document that is not in the cache is parsed again.
 */
export type DocumentCache = LRUCache<string, DocumentNode>

const MAX_CACHED_DOCUMENT_BYTES = 8 * 1024 * 1024

export const createDocumentCache = (): DocumentCache =>
  new LRUCache({
    maxSize: MAX_CACHED_DOCUMENT_BYTES,
    sizeCalculation: document => estimateDocumentBytes(document),
  })

/** The variables are kept as long as the operation has subscribers, as JSON: parsed values take up to 25 times as much. */
const MAX_VARIABLES_CHARACTERS = 64 * 1024

/**
 * Returns a request error BAD_ARGUMENT if the variables are too deep or too long to be kept.
 * @param args `contextValue` is a `Context`
 */
export function createSharedOperation(
  args: ExecutionArgs,
  documentCache: DocumentCache,
  log: ErrorLog,
): SharedOperation | GraphQLError {
  const { schema } = args
  const { scope, fresh } = args.contextValue as Context
  const operationName = args.operationName ?? null
  const { isPerSubscriber, cursorVariable } = getTraits(schema, args.document)
  const query = args.document.loc!.source.body
  if (!documentCache.has(query)) documentCache.set(query, args.document)

  const variables = stringifyVariables(declaredVariables(args, cursorVariable))
  if (variables === null) return badArgument('variables', 'fewer levels')
  if (variables.length > MAX_VARIABLES_CHARACTERS)
    return badArgument('variables', `at most ${MAX_VARIABLES_CHARACTERS} characters for a subscription`)

  const computeKey = () =>
    createHash('sha256')
      .update(JSON.stringify([scope.appId, scope.restrictionKey, query, operationName, variables]))
      .digest('base64')

  function parseDocument(): DocumentNode {
    const cached = documentCache.get(query)
    if (cached !== undefined) return cached
    const document = parse(query)
    documentCache.set(query, document)
    return document
  }

  /** The value of `after` has no effect on an event, but the operation may require one. */
  const parseVariables = () => ({
    ...(JSON.parse(variables) as Record<string, unknown>),
    ...(cursorVariable !== null && { [cursorVariable]: '' }),
  })

  /** Shared fields use no loaders, so one context serves every event. Most subscribers join a group and execute none. */
  let sharedContext: Context | null = null
  const contextOfMessage = (answerBudget: AnswerBudget): Context => {
    if (isPerSubscriber) return { ...fresh(), answerBudget }
    sharedContext ??= fresh()
    return { ...sharedContext, answerBudget }
  }

  function serialise(
    item: FeedMessage,
    { data, errors }: ExecutionResult,
    { error: budgetError }: AnswerBudget,
  ): Payload {
    const result = budgetError === null ? { data, errors } : { errors: [budgetError] }
    const masked = result.errors && limitErrors(result.errors.map(error => maskError(error, log)))
    const { cursor, isLast } = item
    return { json: Buffer.from(`${JSON.stringify({ ...result, errors: masked })}}`), cursor, isLast }
  }

  return {
    key: isPerSubscriber ? Symbol('own') : computeKey(),
    appId: scope.appId,
    sliceOwner: `messages of ${scope.appId}`,
    // Two bytes a character, as V8 keeps all but Latin-1.
    heldBytes: 2 * (query.length + variables.length),

    execute(item) {
      const answerBudget = new AnswerBudget(MAX_PAYLOAD_BYTES)
      const result = execute({
        schema,
        document: parseDocument(),
        operationName,
        variableValues: parseVariables(),
        // graphql-js resolves the root field of each event from the root value: it is the event.
        rootValue: item.value,
        contextValue: contextOfMessage(answerBudget),
      })
      return result instanceof Promise
        ? result.then(resolved => serialise(item, resolved, answerBudget))
        : serialise(item, result as ExecutionResult, answerBudget)
    },
  }
}

/** The variables that the operation declares, without the cursor. A client may send others, of any size. */
function declaredVariables(
  { document, operationName, variableValues }: ExecutionArgs,
  cursorVariable: string | null,
): Record<string, unknown> {
  const names = (getOperationAST(document, operationName)?.variableDefinitions ?? []).map(
    ({ variable }) => variable.name.value,
  )
  const values = variableValues ?? {}
  return Object.fromEntries(
    names
      .filter(name => name !== cursorVariable && Object.hasOwn(values, name))
      .map(name => [name, values[name]]),
  )
}

/** Null: nested too deeply to be serialised. */
function stringifyVariables(variables: object): string | null {
  try {
    return stringify(variables) ?? '{}'
  } catch {
    return null
  }
}

interface DocumentTraits {
  /** The document selects a field marked PER_SUBSCRIBER. */
  isPerSubscriber: boolean
  /** The variable that is used as the feed's `after`, and nowhere else. */
  cursorVariable: string | null
}

const traitsByDocument = new WeakMap<DocumentNode, DocumentTraits>()

function getTraits(schema: GraphQLSchema, document: DocumentNode): DocumentTraits {
  const traits = traitsByDocument.get(document) ?? computeTraits(schema, document)
  traitsByDocument.set(document, traits)
  return traits
}

function computeTraits(schema: GraphQLSchema, document: DocumentNode): DocumentTraits {
  let isPerSubscriber = false
  const cursorVariables = new Set<string>()
  const useCounts = new Map<string, number>()
  const types = new TypeInfo(schema)
  visit(
    document,
    visitWithTypeInfo(types, {
      VariableDefinition: () => false,
      Variable: ({ name }) => void useCounts.set(name.value, (useCounts.get(name.value) ?? 0) + 1),
      Field(node) {
        if (types.getFieldDef()?.extensions[PER_SUBSCRIBER]) isPerSubscriber = true
        if (types.getParentType() !== schema.getSubscriptionType()) return
        const after = node.arguments?.find(({ name }) => name.value === 'after')?.value
        if (after?.kind === Kind.VARIABLE) cursorVariables.add(after.name.value)
      },
    }),
  )
  const [cursorVariable] = cursorVariables
  return {
    isPerSubscriber,
    cursorVariable:
      cursorVariable !== undefined && cursorVariables.size === 1 && useCounts.get(cursorVariable) === 1
        ? cursorVariable
        : null,
  }
}

/**
 * Cache of serialised payloads, by operation and event.
 * Invariant: bounded in bytes. Concurrent requests for one payload share one execution.
 */
export interface PayloadCache {
  get(
    request: { operation: SharedOperation; source: SubscriptionSource },
    event: PredictionEvent,
  ): Payload | Promise<Payload>
}

const MAX_CACHE_BYTES = 8 * 1024 * 1024
/** Approximate memory of an entry beside its bytes. */
const OVERHEAD_BYTES = 256

export function createPayloadCache(): PayloadCache {
  const cache = new LRUCache<string, Payload>({
    maxSize: MAX_CACHE_BYTES,
    sizeCalculation: ({ json }) => json.length + OVERHEAD_BYTES,
  })
  const pending = new Map<string, Promise<Payload>>()

  return {
    get({ operation, source }, event) {
      const { key } = operation
      if (typeof key === 'symbol') return operation.execute(source.toMessage(event))
      const cacheKey = `${key}${event.seq}`
      const cached = cache.get(cacheKey) ?? pending.get(cacheKey)
      if (cached) return cached
      const payload = operation.execute(source.toMessage(event))
      if (!(payload instanceof Promise)) {
        cache.set(cacheKey, payload)
        return payload
      }
      pending.set(cacheKey, payload)
      return payload
        .then(executed => {
          cache.set(cacheKey, executed)
          return executed
        })
        .finally(() => pending.delete(cacheKey))
    },
  }
}
