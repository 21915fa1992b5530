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
import { spaceOf } from '../domain/access-scope.ts'
import type { PredictionEvent } from '../domain/prediction.ts'
import type { Item, Source } from '../events/subscription-source.ts'
import { OWN } from '../graphql/builder.ts'
import type { Context } from '../graphql/context.ts'
import { type ErrorLog, mask } from '../graphql/error-mask.ts'
import { badArgument } from '../graphql/request-errors.ts'

/** The context of a subscription, as the executor makes it. */
export interface Asker extends Context {
  params: { query?: string }
}

/** An item, executed and serialised. */
export interface Payload {
  /** `{"data":…}` and the brace that closes a `next` message around it. */
  tail: Buffer
  cursor: string | null
  isLast: boolean
}

export interface Question {
  /** Who has the same key has the same question; a symbol is nobody else's. */
  key: string | symbol
  /** Whose turns it takes. */
  owner: string
  /** A field that fails is masked, and logged. At once, unless a field has to be waited for. */
  answer(item: Item): Payload | Promise<Payload>
}

/** They are kept as long as anybody has the question. */
const LONGEST_VARIABLES = 64 * 1024

/** Or a request error, BAD_ARGUMENT. */
export function createQuestion(args: ExecutionArgs, asker: Asker, log: ErrorLog): Question | GraphQLError {
  const { schema, document } = args
  const { scope, params, renew } = asker
  const operationName = args.operationName ?? null
  const variableValues = args.variableValues ?? null
  const { isOwn, place } = traitsOf(schema, document)

  const { [place ?? '']: _, ...others } = variableValues ?? {}
  const variables = textOf(others)
  if (variables === null) return badArgument('variables', 'fewer levels')
  if (variables.length > LONGEST_VARIABLES)
    return badArgument('variables', `at most ${LONGEST_VARIABLES} characters for a subscription`)

  const keyOf = () =>
    createHash('sha256')
      .update(JSON.stringify([scope.appId, spaceOf(scope), params.query, operationName, variables]))
      .digest('base64')

  function serialise(item: Item, { data, errors }: ExecutionResult): Payload {
    const masked = errors?.map(error => mask(error, log))
    const { cursor, isLast } = item
    return { tail: Buffer.from(`${JSON.stringify({ data, errors: masked })}}`), cursor, isLast }
  }

  return {
    key: isOwn ? Symbol('own') : keyOf(),
    owner: scope.appId,

    answer(item) {
      const result = execute({
        schema,
        document,
        operationName,
        variableValues,
        rootValue: item.value,
        contextValue: renew(),
      })
      return result instanceof Promise
        ? result.then(done => serialise(item, done))
        : serialise(item, result as ExecutionResult)
    },
  }
}

/** Null where it is nested too deep to be written. */
function textOf(variables: object): string | null {
  try {
    return stringify(variables) ?? ''
  } catch {
    return null
  }
}

interface Traits {
  /** It has a field that is the asker's own. */
  isOwn: boolean
  /** The variable that only says where the feed begins. */
  place: string | null
}

const known = new WeakMap<DocumentNode, Traits>()

function traitsOf(schema: GraphQLSchema, document: DocumentNode): Traits {
  const traits = known.get(document) ?? readTraits(schema, document)
  known.set(document, traits)
  return traits
}

function readTraits(schema: GraphQLSchema, document: DocumentNode): Traits {
  let isOwn = false
  const places = new Set<string>()
  const uses = new Map<string, number>()
  const types = new TypeInfo(schema)
  visit(
    document,
    visitWithTypeInfo(types, {
      VariableDefinition: () => false,
      Variable: ({ name }) => void uses.set(name.value, (uses.get(name.value) ?? 0) + 1),
      Field(node) {
        if (types.getFieldDef()?.extensions[OWN]) isOwn = true
        if (types.getParentType() !== schema.getSubscriptionType()) return
        const after = node.arguments?.find(({ name }) => name.value === 'after')?.value
        if (after?.kind === Kind.VARIABLE) places.add(after.name.value)
      },
    }),
  )
  const [place] = places
  return { isOwn, place: place !== undefined && places.size === 1 && uses.get(place) === 1 ? place : null }
}

/**
 * The payload of an event for a question: made once, kept for those who come a little later.
 * Invariant: bounded in bytes; two who ask at the same time get the same one.
 */
export interface Payloads {
  of(asked: { question: Question; source: Source }, event: PredictionEvent): Payload | Promise<Payload>
}

const KEPT_BYTES = 8 * 1024 * 1024
/** What one takes beside its bytes, roughly. */
const OVERHEAD = 256

export function createPayloads(): Payloads {
  const kept = new LRUCache<string, Payload>({
    maxSize: KEPT_BYTES,
    sizeCalculation: ({ tail }) => tail.length + OVERHEAD,
  })
  const underway = new Map<string, Promise<Payload>>()

  return {
    of({ question, source }, event) {
      const { key } = question
      if (typeof key === 'symbol') return question.answer(source.itemOf(event))
      const name = `${key}${event.seq}`
      const known = kept.get(name) ?? underway.get(name)
      if (known) return known
      const payload = question.answer(source.itemOf(event))
      if (!(payload instanceof Promise)) {
        kept.set(name, payload)
        return payload
      }
      underway.set(name, payload)
      return payload
        .then(made => {
          kept.set(name, made)
          return made
        })
        .finally(() => underway.delete(name))
    },
  }
}
