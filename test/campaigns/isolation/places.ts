/**
 * Every place of a schema that an id may be given at, each with a document that gives one there.
 */
import {
  type GraphQLField,
  type GraphQLObjectType,
  type GraphQLSchema,
  getNamedType,
  isObjectType,
  OperationTypeNode,
} from 'graphql'
import { argumentsOf, type Slot, slotsIn } from './fill.ts'
import { membersOf, selectionOf, yieldsId } from './selection.ts'

export interface Place {
  /** As in `Query.prediction > Prediction.history(after)`. */
  name: string
  /** The kind of operation and the field in question, however it is got at. */
  field: string
  kind: OperationTypeNode
  /** Of the value that is asked for; null where none is. */
  scalar: string | null
  /** With `$asked`, and `$own` or `$file` where it needs one. Where the field was reached, the answer has `reached`. */
  document: string
}

export const KINDS = [
  OperationTypeNode.QUERY,
  OperationTypeNode.SUBSCRIPTION,
  OperationTypeNode.MUTATION,
] as const
const DEPTH = 4

interface Step {
  type: GraphQLObjectType
  field: GraphQLField<unknown, unknown>
}

type Way = readonly [Step, ...Step[]]

/** Each root field as it is, and below it each field that takes something, by the shortest way there. */
export const placesOf = (schema: GraphQLSchema): Place[] =>
  KINDS.flatMap(kind => {
    const type = schema.getRootType(kind)
    return Object.values(type?.getFields() ?? {}).flatMap(field => [
      placeAt(schema, kind, [{ type: type!, field }]),
      ...waysFrom(schema, { type: type!, field }).flatMap(way => placesAt(schema, kind, way)),
    ])
  })

function waysFrom(schema: GraphQLSchema, first: Step): Way[] {
  const ways: Way[] = []
  const seen = new Set<GraphQLObjectType>()
  const waiting: Way[] = [[first]]
  for (let way = waiting.shift(); way !== undefined; way = waiting.shift()) {
    const { field } = way.at(-1)!
    if (field.args.length > 0) ways.push(way)
    for (const type of membersOf(schema, field)) {
      if (seen.has(type)) continue
      seen.add(type)
      for (const next of Object.values(type.getFields())) waiting.push([...way, { type, field: next }])
    }
  }
  return ways
}

const placesAt = (schema: GraphQLSchema, kind: OperationTypeNode, way: Way): Place[] =>
  way
    .at(-1)!
    .field.args.flatMap(arg =>
      slotsIn(arg.type, arg.name).map(slot => placeAt(schema, kind, way, { ...slot, name: arg.name })),
    )

function placeAt(schema: GraphQLSchema, kind: OperationTypeNode, way: Way, slot?: Given): Place {
  const { type, field } = way.at(-1)!
  const path = way.map(step => `${step.type.name}.${step.field.name}`).join(' > ')
  const at = slot ? `(${slot.path})` : ''
  const text = textOf(schema, way, slot)
  const variables = [
    text.includes('$own') ? '$own: ID!' : [],
    text.includes('$file') ? '$file: File!' : [],
    slot ? `$asked: ${slot.scalar}!` : [],
  ].flat()
  return {
    name: path + at,
    field: `${kind} ${type.name}.${field.name}${at}`,
    kind,
    scalar: slot?.scalar ?? null,
    document: `${kind} ${variables.length > 0 ? `(${variables.join(', ')}) ` : ''}{ ${text} }`,
  }
}

/** A place in the argument of that name. */
type Given = Slot & { name: string }

function textOf(schema: GraphQLSchema, [{ field }, next, ...rest]: Way, slot?: Given): string {
  if (next === undefined) {
    const inner = selectionOf(schema, getNamedType(field.type), DEPTH)
    return `${field.name}${argumentsOf(field.args, slot)}${inner}`
  }
  const below = textOf(schema, [next, ...rest], slot)
  const mark = rest.length === 0 ? 'reached: __typename ' : ''
  return `${field.name}${argumentsOf(field.args)} { __typename ... on ${next.type.name} { ${mark}${below} } }`
}

/** Fields that yield an id, or something that has one, as in `Prediction.retryOf`. */
export const yieldsOf = (schema: GraphQLSchema): string[] =>
  Object.values(schema.getTypeMap()).flatMap(type =>
    isObjectType(type) && !type.name.startsWith('__') && !isRoot(schema, type)
      ? Object.values(type.getFields())
          .filter(field => yieldsId(schema, field))
          .map(({ name }) => `${type.name}.${name}`)
      : [],
  )

const isRoot = (schema: GraphQLSchema, type: GraphQLObjectType) =>
  KINDS.some(kind => schema.getRootType(kind) === type)
