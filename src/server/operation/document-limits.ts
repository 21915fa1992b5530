/**
 * Limits of a document, most of them checked before it is parsed; and of what its errors reveal.
 * Invariant: no document is parsed that could fill the heap, overflow the stack, or block the event loop for
 * more than some tens of milliseconds.
 */
import {
  type DocumentNode,
  GraphQLError,
  Lexer,
  NoSchemaIntrospectionCustomRule,
  Source,
  TokenKind,
  visit,
} from 'graphql'
import type { Plugin } from 'graphql-yoga'
import { badArgument, requestError } from '../../graphql/request-errors.ts'

/** A parsed document takes five to 240 times the memory of its text. */
const MAX_QUERY_CHARACTERS = 64 * 1024
/** Most documents of this many tokens are validated in 5 ms. The others repeat a name: see MAX_EQUAL_PAIRS. */
const MAX_TOKENS = 2000
/** An alias is written into the answer for each item of a list, and other names into the messages of errors. */
const MAX_NAME_CHARACTERS = 128
/** The location of each error is searched for line by line: 60,000 lines and a hundred errors took 360 ms (measured). */
const MAX_LINES = 2000
/**
 * Validation compares fields of one name in pairs, and fragments that are spread. At this many pairs it takes up to 15
 * ms, at 160,000 it took 90 ms (measured). The limit is met by 200 fields of one name.
 */
const MAX_EQUAL_PAIRS = 20_000
/** Nested brackets. The parser's stack overflows at some 1,300. */
const MAX_BRACKET_DEPTH = 100
const MAX_ALIASES = 100
const MAX_DIRECTIVES = 100

export const useDocumentLimits = (): Plugin => ({
  onParse({ params: { source }, parseFn, setParseFn }) {
    const text = typeof source === 'string' ? source : source.body
    // Not called for a cached document.
    setParseFn((parsedSource, options) => {
      try {
        if (text.length > MAX_QUERY_CHARACTERS)
          throw badArgument('query', `at most ${MAX_QUERY_CHARACTERS} characters`)
        assertTokenLimits(new Lexer(new Source(text)))
        const document = parseFn(parsedSource, options)
        assertNodeLimits(document)
        return document
      } catch (error) {
        // Marked here, so that the error is the same for every transport.
        if (error instanceof GraphQLError) markAsParseError(error)
        throw error
      }
    })
  },
})

/**
 * Marks the error as a request error: HTTP 400 for clients that accept `application/graphql-response+json`.
 */
function markAsParseError({ extensions }: GraphQLError): void {
  extensions.code ??= 'GRAPHQL_PARSE_FAILED'
  extensions.http ??= { spec: true, status: 400 }
}

export const queryTooComplex = (what: string, count: number | string, max: number): GraphQLError =>
  requestError('QUERY_TOO_COMPLEX', `${what}: ${count}, and at most ${max} are allowed.`)

/** @throws request error QUERY_TOO_COMPLEX */
function assertTokenLimits(lexer: Lexer): void {
  let depth = 0
  for (let tokens = 1; ; tokens++) {
    const { kind, start, end, line } = lexer.advance()
    if (kind === TokenKind.EOF) return
    if (tokens > MAX_TOKENS) throw queryTooComplex('Tokens', `over ${MAX_TOKENS}`, MAX_TOKENS)
    if (line > MAX_LINES) throw queryTooComplex('Lines', `over ${MAX_LINES}`, MAX_LINES)
    if (kind === TokenKind.NAME && end - start > MAX_NAME_CHARACTERS)
      throw queryTooComplex('Characters of a name', end - start, MAX_NAME_CHARACTERS)
    if (OPENING.has(kind)) depth++
    if (CLOSING.has(kind)) depth--
    if (depth > MAX_BRACKET_DEPTH)
      throw queryTooComplex('Levels of brackets', `over ${MAX_BRACKET_DEPTH}`, MAX_BRACKET_DEPTH)
  }
}

const OPENING: ReadonlySet<TokenKind> = new Set([TokenKind.BRACE_L, TokenKind.BRACKET_L, TokenKind.PAREN_L])
const CLOSING: ReadonlySet<TokenKind> = new Set([TokenKind.BRACE_R, TokenKind.BRACKET_R, TokenKind.PAREN_R])

/** @throws request error QUERY_TOO_COMPLEX */
function assertNodeLimits(document: DocumentNode): void {
  let aliases = 0
  let directives = 0
  let pairs = 0
  const counts = new Map<string, number>()
  const pair = (name: string) => {
    const count = counts.get(name) ?? 0
    pairs += count
    counts.set(name, count + 1)
  }
  visit(document, {
    Field({ name, alias }) {
      if (alias) aliases++
      pair((alias ?? name).value)
    },
    FragmentSpread: () => pair('...'),
    Directive: () => void directives++,
  })
  if (aliases > MAX_ALIASES) throw queryTooComplex('Aliases', aliases, MAX_ALIASES)
  if (directives > MAX_DIRECTIVES) throw queryTooComplex('Directives', directives, MAX_DIRECTIVES)
  if (pairs > MAX_EQUAL_PAIRS) throw queryTooComplex('Pairs of fields of one name', pairs, MAX_EQUAL_PAIRS)
}

/** Without introspection, validation errors do not reveal names of the schema either. */
export const useHiddenSchema = (allowIntrospection: boolean): Plugin =>
  allowIntrospection
    ? {}
    : {
        onValidate({ addValidationRule }) {
          addValidationRule(NoSchemaIntrospectionCustomRule)
          return ({ result, setResult }) => setResult((result as readonly GraphQLError[]).map(withoutHint))
        },
      }

const HINT_START = ' Did you mean '

/**
 * Removes the hint "Did you mean …?". graphql-js puts it last, after the text that it quotes from the
 * document.
 */
export function withoutHint(error: GraphQLError): GraphQLError {
  const { message, nodes, source, positions, path, originalError, extensions } = error
  const location = {
    nodes: nodes ?? null,
    source: source ?? null,
    positions: positions ?? null,
    path: path ?? null,
  }
  const hintIndex = message.lastIndexOf(HINT_START)
  if (hintIndex < 0 || !message.endsWith('?')) return error
  return new GraphQLError(message.slice(0, hintIndex), {
    ...location,
    originalError: originalError ?? null,
    extensions,
  })
}
