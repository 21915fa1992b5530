/**
 * Everything that can be selected of a type, to some depth, drawn from the schema.
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

/** Braces and all; empty for a scalar, null for what has no fields within the depth. */
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
 * Members of one union may call the same thing by types that don't merge: each has its type's name before it. So has what
 * yields an id, to be found in the answer. An operation may have a hundred such names.
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
