/**
 * The full selection of a type to a given depth, from the schema.
 */
import {
  type GraphQLField,
  type GraphQLNamedOutputType,
  type GraphQLObjectType,
  type GraphQLSchema,
  getNamedType,
  isAbstractType,
  isLeafType,
  isObjectType,
} from 'graphql'
import { formatArguments } from './argument-values.ts'

/** The selection has its braces. It is empty for a scalar, null if no field fits the depth. */
export function fullSelection(
  schema: GraphQLSchema,
  type: GraphQLNamedOutputType,
  depth: number,
): string | null {
  if (isLeafType(type)) return ''
  if (depth === 0) return null
  const members = isAbstractType(type) ? schema.getPossibleTypes(type) : [type as GraphQLObjectType]
  const parts = members.map(
    member => `... on ${member.name} { ${selectFields(schema, member, depth, true)} }`,
  )
  return isObjectType(type)
    ? ` { __typename ${selectFields(schema, type, depth)} }`
    : ` { __typename ${parts.join(' ')} }`
}

/**
 * Members of a union may have fields of one name and different types, so each is aliased with its type. Fields that
 * return an id are aliased too, to be found in the answer. An operation may have 100 aliases.
 */
const selectFields = (
  schema: GraphQLSchema,
  type: GraphQLObjectType,
  depth: number,
  isMember = false,
): string =>
  Object.values(type.getFields())
    .flatMap(field => {
      const inner = fullSelection(schema, getNamedType(field.type), depth - 1)
      return inner === null
        ? []
        : `${isMember || returnsId(schema, field) ? `${type.name}_${field.name}: ` : ''}${field.name}${formatArguments(field.args)}${inner}`
    })
    .join(' ')

export const returnsId = (schema: GraphQLSchema, field: GraphQLField<unknown, unknown>): boolean =>
  getNamedType(field.type).name === 'ID' ||
  possibleTypes(schema, field).some(type =>
    Object.values(type.getFields()).some(inner => getNamedType(inner.type).name === 'ID'),
  )

export function possibleTypes(
  schema: GraphQLSchema,
  { type }: GraphQLField<unknown, unknown>,
): GraphQLObjectType[] {
  const named = getNamedType(type)
  if (isLeafType(named)) return []
  return isAbstractType(named) ? [...schema.getPossibleTypes(named)] : isObjectType(named) ? [named] : []
}
