/**
 * What of a document is read at all, and what its faults may tell.
 * Invariant: nothing is parsed that could fill the heap, overflow a stack, or hold the loop for more than some tens of
 * milliseconds.
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

/** A tree takes some thirty times its text. */
const MOST_CHARACTERS = 64 * 1024
/** Validation compares fields in pairs: the worst documents of so many take some 40 ms, of twice as many 100 (measured). */
const MOST_TOKENS = 2000
/** Brackets in one another. The parser's stack overflows at some 1,300. */
const MOST_NESTED = 100
const MOST_ALIASES = 100
const MOST_DIRECTIVES = 100

export const useDocumentBounds = (): Plugin => ({
  onParse({ params: { source }, parseFn, setParseFn }) {
    const text = typeof source === 'string' ? source : source.body
    // Not for what is known already.
    setParseFn((given, options) => {
      try {
        if (text.length > MOST_CHARACTERS) throw badArgument('query', `at most ${MOST_CHARACTERS} characters`)
        bound(new Lexer(new Source(text)))
        const document = parseFn(given, options)
        boundNodes(document)
        return document
      } catch (error) {
        // It is kept as it is, whichever door it came through.
        if (error instanceof GraphQLError) asFault(error)
        throw error
      }
    })
  },
})

/** Of the request: so says its status, to whoever asks to be told by it. */
function asFault({ extensions }: GraphQLError): void {
  extensions.code ??= 'GRAPHQL_PARSE_FAILED'
  extensions.http ??= { spec: true, status: 400 }
}

export const tooComplex = (what: string, count: number | string, most: number): GraphQLError =>
  requestError('QUERY_TOO_COMPLEX', `${what}: ${count}, and at most ${most} are allowed.`)

/** @throws request error QUERY_TOO_COMPLEX */
function bound(lexer: Lexer): void {
  let nested = 0
  for (let tokens = 1; ; tokens++) {
    const { kind } = lexer.advance()
    if (kind === TokenKind.EOF) return
    if (tokens > MOST_TOKENS) throw tooComplex('Tokens', `over ${MOST_TOKENS}`, MOST_TOKENS)
    if (OPENING.has(kind)) nested++
    if (CLOSING.has(kind)) nested--
    if (nested > MOST_NESTED) throw tooComplex('Levels of brackets', `over ${MOST_NESTED}`, MOST_NESTED)
  }
}

const OPENING: ReadonlySet<TokenKind> = new Set([TokenKind.BRACE_L, TokenKind.BRACKET_L, TokenKind.PAREN_L])
const CLOSING: ReadonlySet<TokenKind> = new Set([TokenKind.BRACE_R, TokenKind.BRACKET_R, TokenKind.PAREN_R])

/** @throws request error QUERY_TOO_COMPLEX */
function boundNodes(document: DocumentNode): void {
  let aliases = 0
  let directives = 0
  visit(document, {
    Field({ alias }) {
      if (alias) aliases++
    },
    Directive: () => void directives++,
  })
  if (aliases > MOST_ALIASES) throw tooComplex('Aliases', aliases, MOST_ALIASES)
  if (directives > MOST_DIRECTIVES) throw tooComplex('Directives', directives, MOST_DIRECTIVES)
}

/** Where the schema may not be read from here, no fault of a document teaches it either. */
export const useSecrecy = (allowIntrospection: boolean): Plugin =>
  allowIntrospection
    ? {}
    : {
        onValidate({ addValidationRule }) {
          addValidationRule(NoSchemaIntrospectionCustomRule)
          return ({ result, setResult }) => setResult((result as readonly GraphQLError[]).map(withoutHint))
        },
      }

const HINT = ' Did you mean '

/** Graphql-js puts it last, behind whatever it repeats of what was sent. */
export function withoutHint(error: GraphQLError): GraphQLError {
  const { message, nodes, source, positions, path, originalError, extensions } = error
  const rest = {
    nodes: nodes ?? null,
    source: source ?? null,
    positions: positions ?? null,
    path: path ?? null,
  }
  const at = message.lastIndexOf(HINT)
  if (at < 0 || !message.endsWith('?')) return error
  return new GraphQLError(message.slice(0, at), { ...rest, originalError: originalError ?? null, extensions })
}
