/**
 * A probe for each position of the schema that can hold an id, with a document that puts the probed value there.
 */
import {
  type GraphQLField,
  type GraphQLObjectType,
  type GraphQLSchema,
  getNamedType,
  isObjectType,
  OperationTypeNode,
} from 'graphql'
import { type ArgumentPosition, findPositions, formatArguments } from './argument-values.ts'
import { fullSelection, possibleTypes, returnsId } from './full-selection.ts'

export interface Probe {
  /** The path, like `Query.prediction > Prediction.history(after)`. */
  name: string
  /** Operation kind and field, whatever the path to it. */
  field: string
  kind: OperationTypeNode
  /** Scalar of the probed value. Null without one. */
  scalar: string | null
  /**
   * Document with `$asked`, and `$own` or `$file` if needed. The answer has `reached` if the field was reached.
   */
  document: string
}

export const OPERATION_KINDS = [
  OperationTypeNode.QUERY,
  OperationTypeNode.SUBSCRIPTION,
  OperationTypeNode.MUTATION,
] as const
const SELECTION_DEPTH = 4

interface PathStep {
  type: GraphQLObjectType
  field: GraphQLField<unknown, unknown>
}

type FieldPath = readonly [PathStep, ...PathStep[]]

/** Each root field, and each field with arguments below it by the shortest path. */
export const createProbes = (schema: GraphQLSchema): Probe[] =>
  OPERATION_KINDS.flatMap(kind => {
    const type = schema.getRootType(kind)
    return Object.values(type?.getFields() ?? {}).flatMap(field => [
      createProbe(schema, kind, [{ type: type!, field }]),
      ...findFieldPaths(schema, { type: type!, field }).flatMap(steps =>
        createArgumentProbes(schema, kind, steps),
      ),
    ])
  })

function findFieldPaths(schema: GraphQLSchema, first: PathStep): FieldPath[] {
  const paths: FieldPath[] = []
  const visitedTypes = new Set<GraphQLObjectType>()
  const queue: FieldPath[] = [[first]]
  for (let path = queue.shift(); path !== undefined; path = queue.shift()) {
    const { field } = path.at(-1)!
    if (field.args.length > 0) paths.push(path)
    for (const type of possibleTypes(schema, field)) {
      if (visitedTypes.has(type)) continue
      visitedTypes.add(type)
      for (const next of Object.values(type.getFields())) queue.push([...path, { type, field: next }])
    }
  }
  return paths
}

const createArgumentProbes = (schema: GraphQLSchema, kind: OperationTypeNode, steps: FieldPath): Probe[] =>
  steps
    .at(-1)!
    .field.args.flatMap(arg =>
      findPositions(arg.type, arg.name).map(position =>
        createProbe(schema, kind, steps, { ...position, name: arg.name }),
      ),
    )

function createProbe(
  schema: GraphQLSchema,
  kind: OperationTypeNode,
  steps: FieldPath,
  position?: NamedPosition,
): Probe {
  const { type, field } = steps.at(-1)!
  const path = steps.map(step => `${step.type.name}.${step.field.name}`).join(' > ')
  const suffix = position ? `(${position.path})` : ''
  const text = selectionText(schema, steps, position)
  const variables = [
    text.includes('$own') ? '$own: ID!' : [],
    text.includes('$file') ? '$file: File!' : [],
    position ? `$asked: ${position.scalar}!` : [],
  ].flat()
  return {
    name: path + suffix,
    field: `${kind} ${type.name}.${field.name}${suffix}`,
    kind,
    scalar: position?.scalar ?? null,
    document: `${kind} ${variables.length > 0 ? `(${variables.join(', ')}) ` : ''}{ ${text} }`,
  }
}

/** A position in the argument of that name. */
type NamedPosition = ArgumentPosition & { name: string }

function selectionText(
  schema: GraphQLSchema,
  [{ field }, next, ...rest]: FieldPath,
  position?: NamedPosition,
): string {
  if (next === undefined) {
    const inner = fullSelection(schema, getNamedType(field.type), SELECTION_DEPTH)
    return `${field.name}${formatArguments(field.args, position)}${inner}`
  }
  const innerSelection = selectionText(schema, [next, ...rest], position)
  const mark = rest.length === 0 ? 'reached: __typename ' : ''
  return `${field.name}${formatArguments(field.args)} { __typename ... on ${next.type.name} { ${mark}${innerSelection} } }`
}

/** Fields that return an id, or an object that has one, like `Prediction.retryOf`. */
export const fieldsReturningIds = (schema: GraphQLSchema): string[] =>
  Object.values(schema.getTypeMap()).flatMap(type =>
    isObjectType(type) && !type.name.startsWith('__') && !isRootType(schema, type)
      ? Object.values(type.getFields())
          .filter(field => returnsId(schema, field))
          .map(({ name }) => `${type.name}.${name}`)
      : [],
  )

const isRootType = (schema: GraphQLSchema, type: GraphQLObjectType) =>
  OPERATION_KINDS.some(kind => schema.getRootType(kind) === type)
