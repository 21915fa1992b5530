/**
 * Random operations, drawn from the schema: most of them valid, all of them of a form that a client might send.
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
import { STRANGE } from './strange.ts'

export interface Operation {
  query: string
  variables: Record<string, unknown>
  operationName?: string
}

/** The parser itself ends at some depth, by way of its stack: that is a case of its own. */
export const DEEPEST = 200

const DEPTH = 5
const KINDS = ['query', 'query', 'subscription', 'mutation'] as const

/** 0 to `most`. */
type Draw = (most: number) => number

/** What is drawn is read off a tape of numbers, which shrinks as any list does; past its end all is 0. */
const tapes: fc.Arbitrary<Draw> = fc
  .array(fc.noBias(fc.nat({ max: 2 ** 31 - 1 })), { maxLength: 300, size: 'max' })
  .map(tape => {
    let at = 0
    return most => (tape[at++] ?? 0) % (most + 1)
  })

interface Pen {
  draw: Draw
  schema: GraphQLSchema
  /** What ids are drawn from. */
  ids: readonly string[]
  variables: Map<string, { type: string; value: unknown }>
  fragments: Map<string, string>
  made: number
}

/** @param ids what an id, or any other text, may be */
export const operations = (schema: GraphQLSchema, ids: readonly string[]): fc.Arbitrary<Operation> =>
  tapes.map(draw => {
    const parts = Array.from({ length: draw(3) === 3 ? 2 : 1 }, (_, i) => {
      const pen: Pen = { draw, schema, ids, variables: new Map(), fragments: new Map(), made: i * 1000 }
      const kind = oneOf(pen, KINDS)
      const root = schema.getRootType(kind as OperationTypeNode)!
      const selection = `{ ${fieldsOf(pen, root, DEPTH, kind === 'subscription' ? 1 : oneOf(pen, [1, 2, 4]))} }`
      return { name: `Op${i}`, text: `${kind} Op${i}${declared(pen)} ${selection}`, pen }
    })
    const [first] = parts
    const named = parts.length > 1 || draw(1) === 1
    return {
      query: parts.flatMap(({ text, pen }) => [text, ...pen.fragments.values()]).join('\n'),
      variables: Object.fromEntries(
        parts.flatMap(({ pen }) => [...pen.variables].map(([name, { value }]) => [name, value])),
      ),
      ...(named && { operationName: first!.name }),
    }
  })

const chance = ({ draw }: Pen, percent: number): boolean => draw(99) >= 100 - percent

const oneOf = <Value>({ draw }: Pen, values: readonly Value[]): Value => values[draw(values.length - 1)]!

const declared = ({ variables }: Pen): string =>
  variables.size === 0 ? '' : `(${[...variables].map(([name, { type }]) => `$${name}: ${type}`).join(', ')})`

function fieldsOf(pen: Pen, type: GraphQLCompositeType, depth: number, count: number): string {
  const parts = Array.from({ length: count }, () => {
    if (type !== pen.schema.getSubscriptionType() && chance(pen, 5)) return `__typename${directives(pen)}`
    if (isObjectType(type) && chance(pen, 10)) return fragmentOf(pen, type, depth)
    if (isAbstractType(type)) {
      const member = oneOf(pen, pen.schema.getPossibleTypes(type))
      return `... on ${member.name}${directives(pen)} { ${fieldsOf(pen, member, depth, 2)} }`
    }
    return fieldOf(pen, type as GraphQLObjectType, depth)
  })
  return parts.join(' ')
}

function fieldOf(pen: Pen, type: GraphQLObjectType, depth: number): string {
  const fields = Object.values(type.getFields())
  const fitting = depth > 0 ? fields : fields.filter(field => !isCompositeType(getNamedType(field.type)))
  if (fitting.length === 0) return '__typename'
  const field = oneOf(pen, fitting)
  const named = getNamedType(field.type)
  const inner = isCompositeType(named) ? ` { ${fieldsOf(pen, named, depth - 1, oneOf(pen, [2, 1, 3]))} }` : ''
  // Two of one name must have the same arguments.
  const alias = chance(pen, 95) ? `a${pen.made++}: ` : ''
  return `${alias}${field.name}${argumentsOf(pen, field.args)}${directives(pen)}${inner}`
}

function fragmentOf(pen: Pen, type: GraphQLObjectType, depth: number): string {
  if (chance(pen, 50))
    return `... ${chance(pen, 50) ? `on ${type.name} ` : ''}{ ${fieldsOf(pen, type, depth - 1, 1)} }`
  const name = `F${pen.made++}`
  pen.fragments.set(name, '')
  pen.fragments.set(
    name,
    `fragment ${name} on ${type.name} { ${fieldsOf(pen, type, Math.max(0, depth - 1), 2)} }`,
  )
  return `...${name}${directives(pen)}`
}

function directives(pen: Pen): string {
  if (!chance(pen, 8)) return ''
  const name = chance(pen, 2) ? 'nonsense' : oneOf(pen, ['skip', 'include'])
  const value = chance(pen, 50)
  return ` @${name}(if: ${chance(pen, 50) ? value : variable(pen, 'Boolean!', value)})`
}

function argumentsOf(pen: Pen, args: readonly GraphQLArgument[]): string {
  const given = args.filter(arg => isRequiredArgument(arg) || chance(pen, 40))
  return given.length === 0
    ? ''
    : `(${given.map(({ name, type }) => `${name}: ${argumentOf(pen, type)}`).join(', ')})`
}

const argumentOf = (pen: Pen, type: GraphQLInputType): string =>
  chance(pen, 50)
    ? variable(pen, String(type), anyOf(pen, type, 3))
    : // A literal is judged before anything runs: few wrong ones tell all there is to tell.
      literalOf(anyOf(pen, type, chance(pen, 5) ? 3 : 0), type)

function variable(pen: Pen, type: string, value: unknown): string {
  const name = `v${pen.made++}`
  pen.variables.set(name, { type, value })
  return `$${name}`
}

/** Of the type, and in `wrong` of a hundred places of none. */
function anyOf(pen: Pen, type: GraphQLInputType, wrong: number, depth = 4): unknown {
  if (chance(pen, wrong)) return strangeOf(pen)
  if (isNonNullType(type)) return present(pen, type.ofType, wrong, depth)
  return chance(pen, 5) ? null : present(pen, type, wrong, depth)
}

function present(pen: Pen, type: GraphQLInputType, wrong: number, depth: number): unknown {
  if (isListType(type)) {
    const count = oneOf(pen, [1, 1, 1, 0, 3, 120])
    return Array.from({ length: count }, () => anyOf(pen, type.ofType, wrong, depth))
  }
  if (isEnumType(type)) return oneOf(pen, type.getValues()).name
  if (!isInputObjectType(type)) return scalarOf(pen, (type as GraphQLScalarType).name)
  const all = Object.values(type.getFields())
  if (type.isOneOf && !chance(pen, wrong)) {
    const field = oneOf(pen, all)
    return { [field.name]: present(pen, field.type, wrong, depth - 1) }
  }
  const fields = all.filter(field => isRequiredInputField(field) || (depth > 0 && chance(pen, 40)))
  return Object.fromEntries(fields.map(field => [field.name, anyOf(pen, field.type, wrong, depth - 1)]))
}

const INTS = [1, 0, 5, 100, 101, -1, 2 ** 31 - 1, -(2 ** 31)]
const MOMENTS = [
  '2026-01-31T12:00:00Z',
  '0000-01-01T00:00:00Z',
  '9999-12-31T23:59:59.999+14:00',
  '2026-02-30T00:00:00Z',
  '',
]

function scalarOf(pen: Pen, name: string): unknown {
  if (name === 'Int') return chance(pen, 50) ? oneOf(pen, INTS) : pen.draw(100)
  if (name === 'Float') return pen.draw(1e6) / 7
  if (name === 'Boolean') return chance(pen, 50)
  if (name === 'DateTime') return oneOf(pen, MOMENTS)
  if (name === 'JSON') return strangeOf(pen)
  return chance(pen, 70) ? oneOf(pen, pen.ids) : textOf(pen)
}

/** Of any characters there are, and halves of some. */
const textOf = (pen: Pen): string =>
  Array.from({ length: oneOf(pen, [0, 1, 3, 30]) }, () =>
    String.fromCharCode(pen.draw(chance(pen, 50) ? 127 : 0xffff)),
  ).join('')

function strangeOf(pen: Pen, depth = 3): unknown {
  if (depth === 0 || chance(pen, 50)) return oneOf(pen, STRANGE)
  if (chance(pen, 30)) return textOf(pen)
  const some = Array.from({ length: pen.draw(3) }, () => strangeOf(pen, depth - 1))
  return chance(pen, 50) ? some : Object.fromEntries(some.map(value => [textOf(pen), value]))
}

/** As a document has it. */
export function literalOf(value: unknown, type: GraphQLInputType | null = null): string {
  if (type !== null && isNonNullType(type)) return literalOf(value, type.ofType)
  if (value === null || value === undefined) return 'null'
  if (Array.isArray(value)) {
    const inner = type !== null && isListType(type) ? type.ofType : null
    return `[${value.map(item => literalOf(item, inner)).join(', ')}]`
  }
  if (typeof value === 'object') {
    const fields = type !== null && isInputObjectType(type) ? type.getFields() : {}
    return `{${Object.entries(value)
      .filter(([name]) => /^[_A-Za-z]\w*$/.test(name))
      .map(([name, item]) => `${name}: ${literalOf(item, fields[name]?.type ?? null)}`)
      .join(', ')}}`
  }
  return typeof value === 'string' && type !== null && isEnumType(type)
    ? value.replace(/\W/g, '') || 'NONE'
    : JSON.stringify(value)
}

const CHANGES = [
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

/** What is no longer a document, or another one: with words gone, doubled or in each other's place. */
export const brokenOperations = (of: fc.Arbitrary<Operation>): fc.Arbitrary<Operation> =>
  fc
    .tuple(
      of,
      fc.array(fc.tuple(fc.constantFrom(...CHANGES), fc.nat(), fc.nat(), strangeWord), {
        minLength: 1,
        maxLength: 2,
      }),
    )
    .map(([operation, changes]) => {
      const words = operation.query.match(TOKEN) ?? []
      for (const [change, a, b, word] of changes) {
        const i = a % (words.length || 1)
        const alike = [...words.keys()].filter(at => /^\w/.test(words[at]!) === /^\w/.test(words[i] ?? ''))
        const j = alike[b % (alike.length || 1)] ?? 0
        if (change === 'delete') words.splice(i, 1)
        else if (change === 'double') words.splice(i, 0, words[i] ?? '')
        else if (change === 'swap') [words[i], words[j]] = [words[j] ?? '', words[i] ?? '']
        else if (change === 'replace') words[i] = words[j] ?? ''
        else if (change === 'cut') words.splice(i)
        else words.splice(i, 0, word)
      }
      return { ...operation, query: words.join(' ') }
    })

const strangeWord = fc.oneof(
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
  fc.nat({ max: DEEPEST }).map(depth => '{a'.repeat(depth) + '}'.repeat(depth)),
  fc.nat({ max: DEEPEST }).map(depth => '['.repeat(depth) + ']'.repeat(depth)),
  fc.string({ unit: 'binary', maxLength: 5 }),
)
