/**
 * Random operations from the schema, mostly valid.
 */
import fc from 'fast-check'
import {
  type GraphQLArgument,
  type GraphQLCompositeType,
  type GraphQLInputType,
  type GraphQLObjectType,
  type GraphQLScalarType,
  type GraphQLSchema,
  getNamedType,
  isAbstractType,
  isCompositeType,
  isEnumType,
  isInputObjectType,
  isListType,
  isNonNullType,
  isObjectType,
  isRequiredArgument,
  isRequiredInputField,
  type OperationTypeNode,
} from 'graphql'
import { EDGE_CASE_VALUES } from './edge-case-values.ts'

export interface Operation {
  query: string
  variables: Record<string, unknown>
  operationName?: string
}

/** The parser overflows its stack at some depth. That is a case of its own. */
export const MAX_NESTING = 200

const SELECTION_DEPTH = 5
const OPERATION_KINDS = ['query', 'query', 'subscription', 'mutation'] as const

/** Draws a number from 0 to `max`. */
type Draw = (max: number) => number

/** Choices are read from a list of numbers, which fast-check can shrink. Past its end every choice is 0. */
const drawFunctions: fc.Arbitrary<Draw> = fc
  .array(fc.noBias(fc.nat({ max: 2 ** 31 - 1 })), { maxLength: 300, size: 'max' })
  .map(tape => {
    let at = 0
    return max => (tape[at++] ?? 0) % (max + 1)
  })

interface GeneratorContext {
  draw: Draw
  schema: GraphQLSchema
  /** Values for ids and other text. */
  ids: readonly string[]
  variables: Map<string, { type: string; value: unknown }>
  fragments: Map<string, string>
  nameCount: number
}

/** @param ids values for ids and other text */
export const operations = (schema: GraphQLSchema, ids: readonly string[]): fc.Arbitrary<Operation> =>
  drawFunctions.map(draw => {
    const parts = Array.from({ length: draw(3) === 3 ? 2 : 1 }, (_, i) => {
      const context: GeneratorContext = {
        draw,
        schema,
        ids,
        variables: new Map(),
        fragments: new Map(),
        nameCount: i * 1000,
      }
      const kind = pick(context, OPERATION_KINDS)
      const root = schema.getRootType(kind as OperationTypeNode)!
      const selection = `{ ${drawFields(context, root, SELECTION_DEPTH, kind === 'subscription' ? 1 : pick(context, [1, 2, 4]))} }`
      return {
        name: `Op${i}`,
        text: `${kind} Op${i}${variableDefinitions(context)} ${selection}`,
        context,
      }
    })
    const [first] = parts
    const hasOperationName = parts.length > 1 || draw(1) === 1
    return {
      query: parts.flatMap(({ text, context }) => [text, ...context.fragments.values()]).join('\n'),
      variables: Object.fromEntries(
        parts.flatMap(({ context }) => [...context.variables].map(([name, { value }]) => [name, value])),
      ),
      ...(hasOperationName && { operationName: first!.name }),
    }
  })

const hasChance = ({ draw }: GeneratorContext, percent: number): boolean => draw(99) >= 100 - percent

const pick = <Value>({ draw }: GeneratorContext, values: readonly Value[]): Value =>
  values[draw(values.length - 1)]!

const variableDefinitions = ({ variables }: GeneratorContext): string =>
  variables.size === 0 ? '' : `(${[...variables].map(([name, { type }]) => `$${name}: ${type}`).join(', ')})`

function drawFields(
  context: GeneratorContext,
  type: GraphQLCompositeType,
  depth: number,
  count: number,
): string {
  const parts = Array.from({ length: count }, () => {
    if (type !== context.schema.getSubscriptionType() && hasChance(context, 5))
      return `__typename${drawDirectives(context)}`
    if (isObjectType(type) && hasChance(context, 10)) return drawFragment(context, type, depth)
    if (isAbstractType(type)) {
      const member = pick(context, context.schema.getPossibleTypes(type))
      return `... on ${member.name}${drawDirectives(context)} { ${drawFields(context, member, depth, 2)} }`
    }
    return drawField(context, type as GraphQLObjectType, depth)
  })
  return parts.join(' ')
}

function drawField(context: GeneratorContext, type: GraphQLObjectType, depth: number): string {
  const fields = Object.values(type.getFields())
  const selectable = depth > 0 ? fields : fields.filter(field => !isCompositeType(getNamedType(field.type)))
  if (selectable.length === 0) return '__typename'
  const field = pick(context, selectable)
  const named = getNamedType(field.type)
  const inner = isCompositeType(named)
    ? ` { ${drawFields(context, named, depth - 1, pick(context, [2, 1, 3]))} }`
    : ''
  // Two fields of one name need the same arguments.
  const alias = hasChance(context, 95) ? `a${context.nameCount++}: ` : ''
  return `${alias}${field.name}${drawArguments(context, field.args)}${drawDirectives(context)}${inner}`
}

function drawFragment(context: GeneratorContext, type: GraphQLObjectType, depth: number): string {
  if (hasChance(context, 50))
    return `... ${hasChance(context, 50) ? `on ${type.name} ` : ''}{ ${drawFields(context, type, depth - 1, 1)} }`
  const name = `F${context.nameCount++}`
  context.fragments.set(name, '')
  context.fragments.set(
    name,
    `fragment ${name} on ${type.name} { ${drawFields(context, type, Math.max(0, depth - 1), 2)} }`,
  )
  return `...${name}${drawDirectives(context)}`
}

function drawDirectives(context: GeneratorContext): string {
  if (!hasChance(context, 8)) return ''
  const name = hasChance(context, 2) ? 'nonsense' : pick(context, ['skip', 'include'])
  const value = hasChance(context, 50)
  return ` @${name}(if: ${hasChance(context, 50) ? value : defineVariable(context, 'Boolean!', value)})`
}

function drawArguments(context: GeneratorContext, args: readonly GraphQLArgument[]): string {
  const chosen = args.filter(arg => isRequiredArgument(arg) || hasChance(context, 40))
  return chosen.length === 0
    ? ''
    : `(${chosen.map(({ name, type }) => `${name}: ${drawArgument(context, type)}`).join(', ')})`
}

const drawArgument = (context: GeneratorContext, type: GraphQLInputType): string =>
  hasChance(context, 50)
    ? defineVariable(context, String(type), drawValue(context, type, 3))
    : // One invalid literal rejects the whole document, so most literals are valid.
      formatLiteral(drawValue(context, type, hasChance(context, 5) ? 3 : 0), type)

function defineVariable(context: GeneratorContext, type: string, value: unknown): string {
  const name = `v${context.nameCount++}`
  context.variables.set(name, { type, value })
  return `$${name}`
}

/** A value of the type. In `invalidPercent` of 100 cases an invalid one. */
function drawValue(
  context: GeneratorContext,
  type: GraphQLInputType,
  invalidPercent: number,
  depth = 4,
): unknown {
  if (hasChance(context, invalidPercent)) return drawEdgeCase(context)
  if (isNonNullType(type)) return drawNonNull(context, type.ofType, invalidPercent, depth)
  return hasChance(context, 5) ? null : drawNonNull(context, type, invalidPercent, depth)
}

function drawNonNull(
  context: GeneratorContext,
  type: GraphQLInputType,
  invalidPercent: number,
  depth: number,
): unknown {
  if (isListType(type)) {
    const count = pick(context, [1, 1, 1, 0, 3, 120])
    return Array.from({ length: count }, () => drawValue(context, type.ofType, invalidPercent, depth))
  }
  if (isEnumType(type)) return pick(context, type.getValues()).name
  if (!isInputObjectType(type)) return drawScalar(context, (type as GraphQLScalarType).name)
  const all = Object.values(type.getFields())
  if (type.isOneOf && !hasChance(context, invalidPercent)) {
    const field = pick(context, all)
    return { [field.name]: drawNonNull(context, field.type, invalidPercent, depth - 1) }
  }
  const fields = all.filter(field => isRequiredInputField(field) || (depth > 0 && hasChance(context, 40)))
  return Object.fromEntries(
    fields.map(field => [field.name, drawValue(context, field.type, invalidPercent, depth - 1)]),
  )
}

const INTS = [1, 0, 5, 100, 101, -1, 2 ** 31 - 1, -(2 ** 31)]
const DATE_TIMES = [
  '2026-01-31T12:00:00Z',
  '0000-01-01T00:00:00Z',
  '9999-12-31T23:59:59.999+14:00',
  '2026-02-30T00:00:00Z',
  '',
]

function drawScalar(context: GeneratorContext, name: string): unknown {
  if (name === 'Int') return hasChance(context, 50) ? pick(context, INTS) : context.draw(100)
  if (name === 'Float') return context.draw(1e6) / 7
  if (name === 'Boolean') return hasChance(context, 50)
  if (name === 'DateTime') return pick(context, DATE_TIMES)
  if (name === 'JSON') return drawEdgeCase(context)
  return hasChance(context, 70) ? pick(context, context.ids) : drawText(context)
}

/** Any characters, lone surrogates too. */
const drawText = (context: GeneratorContext): string =>
  Array.from({ length: pick(context, [0, 1, 3, 30]) }, () =>
    String.fromCharCode(context.draw(hasChance(context, 50) ? 127 : 0xffff)),
  ).join('')

function drawEdgeCase(context: GeneratorContext, depth = 3): unknown {
  if (depth === 0 || hasChance(context, 50)) return pick(context, EDGE_CASE_VALUES)
  if (hasChance(context, 30)) return drawText(context)
  const some = Array.from({ length: context.draw(3) }, () => drawEdgeCase(context, depth - 1))
  return hasChance(context, 50) ? some : Object.fromEntries(some.map(value => [drawText(context), value]))
}

/** Formats the value as a GraphQL literal. */
export function formatLiteral(value: unknown, type: GraphQLInputType | null = null): string {
  if (type !== null && isNonNullType(type)) return formatLiteral(value, type.ofType)
  if (value === null || value === undefined) return 'null'
  if (Array.isArray(value)) {
    const inner = type !== null && isListType(type) ? type.ofType : null
    return `[${value.map(item => formatLiteral(item, inner)).join(', ')}]`
  }
  if (typeof value === 'object') {
    const fields = type !== null && isInputObjectType(type) ? type.getFields() : {}
    return `{${Object.entries(value)
      .filter(([name]) => /^[_A-Za-z]\w*$/.test(name))
      .map(([name, item]) => `${name}: ${formatLiteral(item, fields[name]?.type ?? null)}`)
      .join(', ')}}`
  }
  return typeof value === 'string' && type !== null && isEnumType(type)
    ? value.replace(/\W/g, '') || 'NONE'
    : JSON.stringify(value)
}

const TOKEN_EDITS = [
  'delete',
  'double',
  'swap',
  'swap',
  'replace',
  'replace',
  'replace',
  'insert',
  'insert',
  'cut',
] as const
const TOKEN = /"(?:[^"\\]|\\.)*"|\.\.\.|[\w.-]+|[^\s\w]/g

/** Documents with tokens deleted, doubled, swapped or replaced. */
export const corruptedOperations = (arbitrary: fc.Arbitrary<Operation>): fc.Arbitrary<Operation> =>
  fc
    .tuple(
      arbitrary,
      fc.array(fc.tuple(fc.constantFrom(...TOKEN_EDITS), fc.nat(), fc.nat(), invalidToken), {
        minLength: 1,
        maxLength: 2,
      }),
    )
    .map(([operation, changes]) => {
      const tokens = operation.query.match(TOKEN) ?? []
      for (const [change, a, b, inserted] of changes) {
        const i = a % (tokens.length || 1)
        const sameKind = [...tokens.keys()].filter(
          at => /^\w/.test(tokens[at]!) === /^\w/.test(tokens[i] ?? ''),
        )
        const j = sameKind[b % (sameKind.length || 1)] ?? 0
        if (change === 'delete') tokens.splice(i, 1)
        else if (change === 'double') tokens.splice(i, 0, tokens[i] ?? '')
        else if (change === 'swap') [tokens[i], tokens[j]] = [tokens[j] ?? '', tokens[i] ?? '']
        else if (change === 'replace') tokens[i] = tokens[j] ?? ''
        else if (change === 'cut') tokens.splice(i)
        else tokens.splice(i, 0, inserted)
      }
      return { ...operation, query: tokens.join(' ') }
    })

const invalidToken = fc.oneof(
  fc.constantFrom(
    '{',
    '}',
    '(',
    ')',
    '$',
    '@',
    '...',
    '"',
    '"""',
    '#',
    '\ufeff',
    '\u0000',
    '\ud800',
    '&',
    '|',
    'on',
    '1e999',
    '-0',
    'fragment',
    '__proto__',
    'constructor',
  ),
  fc.nat({ max: MAX_NESTING }).map(depth => '{a'.repeat(depth) + '}'.repeat(depth)),
  fc.nat({ max: MAX_NESTING }).map(depth => '['.repeat(depth) + ']'.repeat(depth)),
  fc.string({ unit: 'binary', maxLength: 5 }),
)
