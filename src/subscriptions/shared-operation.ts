/**
 * What makes two subscriptions the same: the document, the operation, the variables less the feed's `after`, and the
 * scope of whoever asks. And the one answer to it, for each item.
 * Invariant: two callers share a question only if every field in it may tell both the same; the scope is always in the
 * key, and a field that the schema marks as the asker's own makes the question the asker's own.
 */
import { createHash } from 'node:crypto'
import {
  type DocumentNode,
  type ExecutionArgs,
  type ExecutionResult,
  execute,
  type GraphQLError,
  type GraphQLSchema,
  Kind,
  TypeInfo,
  visit,
  visitWithTypeInfo,
} from 'graphql'
import { LRUCache } from 'lru-cache'
import { stringify } from 'safe-stable-stringify'
import { restrictionKeyOf } from '../domain/access-scope.ts'
import type { PredictionEvent } from '../domain/prediction.ts'
import type { FeedMessage, SubscriptionSource } from '../events/subscription-source.ts'
import { PER_SUBSCRIBER } from '../graphql/builder.ts'
import type { Context } from '../graphql/context.ts'
import { type ErrorLog, maskError } from '../graphql/error-mask.ts'
import { badArgument } from '../graphql/request-errors.ts'

/** The context of a subscription, as the executor makes it. */
export interface SubscriptionContext extends Context {
  params: { query?: string }
}

/** An item, executed and serialised. */
export interface Payload {
  /** `{"data":…}` and the brace that closes a `next` message around it. */
  json: Buffer
  cursor: string | null
  isLast: boolean
}

export interface SharedOperation {
  /** Who has the same key has the same question; a symbol is nobody else's. */
  key: string | symbol
  /** Whose turns it takes. */
  owner: string
  /** A field that fails is masked, and logged. At once, unless a field has to be waited for. */
  execute(item: FeedMessage): Payload | Promise<Payload>
}

/** They are kept as long as anybody has the question. */
const MAX_VARIABLES_CHARACTERS = 64 * 1024

/** Or a request error, BAD_ARGUMENT. */
export function createSharedOperation(
  args: ExecutionArgs,
  context: SubscriptionContext,
  log: ErrorLog,
): SharedOperation | GraphQLError {
  const { schema, document } = args
  const { scope, params, fresh } = context
  const operationName = args.operationName ?? null
  const variableValues = args.variableValues ?? null
  const { isPerSubscriber, cursorVariable } = getTraits(schema, document)

  const { [cursorVariable ?? '']: _, ...others } = variableValues ?? {}
  const variables = stringifyVariables(others)
  if (variables === null) return badArgument('variables', 'fewer levels')
  if (variables.length > MAX_VARIABLES_CHARACTERS)
    return badArgument('variables', `at most ${MAX_VARIABLES_CHARACTERS} characters for a subscription`)

  const computeKey = () =>
    createHash('sha256')
      .update(JSON.stringify([scope.appId, restrictionKeyOf(scope), params.query, operationName, variables]))
      .digest('base64')

  function serialise(item: FeedMessage, { data, errors }: ExecutionResult): Payload {
    const masked = errors?.map(error => maskError(error, log))
    const { cursor, isLast } = item
    return { json: Buffer.from(`${JSON.stringify({ data, errors: masked })}}`), cursor, isLast }
  }

  return {
    key: isPerSubscriber ? Symbol('own') : computeKey(),
    owner: scope.appId,

    execute(item) {
      const result = execute({
        schema,
        document,
        operationName,
        variableValues,
        rootValue: item.value,
        contextValue: fresh(),
      })
      return result instanceof Promise
        ? result.then(resolved => serialise(item, resolved))
        : serialise(item, result as ExecutionResult)
    },
  }
}

/** Null where it is nested too deep to be written. */
function stringifyVariables(variables: object): string | null {
  try {
    return stringify(variables) ?? ''
  } catch {
    return null
  }
}

interface DocumentTraits {
  /** It has a field that is the asker's own. */
  isPerSubscriber: boolean
  /** The variable that only says where the feed begins. */
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
 * The payload of an event for a question: made once, kept for those who come a little later.
 * Invariant: bounded in bytes; two who ask at the same time get the same one.
 */
export interface PayloadCache {
  get(
    request: { operation: SharedOperation; source: SubscriptionSource },
    event: PredictionEvent,
  ): Payload | Promise<Payload>
}

const MAX_CACHE_BYTES = 8 * 1024 * 1024
/** What one takes beside its bytes, roughly. */
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
