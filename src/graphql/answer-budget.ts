/**
 * Byte budget of an answer, counted by the resolvers of texts while the answer is made.
 * Invariant: once the budget is exceeded no further text enters the answer. The whole answer is then one error, because
 * a part of the data would look like all of it.
 */
import {
  defaultFieldResolver,
  type GraphQLError,
  type GraphQLField,
  type GraphQLSchema,
  getNamedType,
  isObjectType,
} from 'graphql'
import { requestError } from './request-errors.ts'

/**
 * Max bytes of the answer to a query or a mutation. The largest honest one is a page of 100 predictions with every field:
 * two prompts of 5000 characters at up to four bytes, 4 KiB of metadata, a URL of 4096 characters, ten tags and the
 * rest take 51 KB each.
 */
const MAX_ANSWER_BYTES = 5 * 1024 * 1024
/** Max bytes of a message of a subscription. One prediction takes up to 51 KB, and 20 items of its history 20 times as much. */
export const MAX_PAYLOAD_BYTES = 1024 * 1024
/**
 * Up to this many bytes a character counts as one byte. From there on its bytes as JSON count, one to six. Most answers
 * are smaller, and pay nothing for the count.
 */
const MAX_ESTIMATED_BYTES = 1024 * 1024

/** The quotes, the colon and the comma of a field. */
const PUNCTUATION_BYTES = 4

export class AnswerBudget {
  /** Bytes counted so far. */
  bytes = 0
  readonly maxBytes: number
  #error: GraphQLError | null = null
  /** Bytes of each text that was measured. The aliases of a field have the same text. */
  #measured: Map<string, number> | null = null

  constructor(maxBytes: number = MAX_ANSWER_BYTES) {
    this.maxBytes = maxBytes
  }

  /** Request error QUERY_TOO_COMPLEX if the budget is exceeded; null if it is not. */
  get error(): GraphQLError | null {
    return this.#error
  }

  /** @throws request error QUERY_TOO_COMPLEX */
  count(bytes: number): void {
    this.bytes += bytes
    if (this.bytes <= this.maxBytes) return
    this.#error ??= requestError(
      'QUERY_TOO_COMPLEX',
      `Bytes of the answer: over ${this.maxBytes}, and at most ${this.maxBytes} are allowed.`,
    )
    throw this.#error
  }

  /** @throws request error QUERY_TOO_COMPLEX */
  countValue(value: unknown): void {
    if (typeof value === 'string') this.count(this.#measure(value))
    else if (Array.isArray(value)) for (const item of value) this.countValue(item)
    else if (typeof value === 'object' && value !== null) this.count(JSON.stringify(value).length)
    else this.count(PUNCTUATION_BYTES)
  }

  #measure(text: string): number {
    if (this.bytes + text.length <= MAX_ESTIMATED_BYTES) return text.length
    this.#measured ??= new Map()
    const bytes = this.#measured.get(text) ?? Buffer.byteLength(JSON.stringify(text))
    this.#measured.set(text, bytes)
    return bytes
  }
}

/**
 * Lets every field with a text, or any JSON, count what it adds to the answer. The other fields are short, and the cost
 * of the operation limits their number. Counting them too would take a third more of the time of a page (measured).
 */
export function withAnswerBudget(schema: GraphQLSchema): GraphQLSchema {
  for (const type of Object.values(schema.getTypeMap()))
    if (isObjectType(type) && !type.name.startsWith('__'))
      for (const field of Object.values(type.getFields()))
        if (TEXT_TYPES.has(getNamedType(field.type).name)) field.resolve = countingResolver(field)
  return schema
}

const TEXT_TYPES: ReadonlySet<string> = new Set(['String', 'ID', 'URL', 'JSON'])

function countingResolver({
  resolve = defaultFieldResolver,
}: GraphQLField<unknown, { answerBudget: AnswerBudget }>): typeof resolve {
  return (source, args, context, info) => {
    const { answerBudget } = context
    answerBudget.count((info.path.key as string).length + PUNCTUATION_BYTES)
    const value: unknown = resolve(source, args, context, info)
    if (!(value instanceof Promise)) {
      answerBudget.countValue(value)
      return value
    }
    return value.then(resolved => {
      answerBudget.countValue(resolved)
      return resolved
    })
  }
}
