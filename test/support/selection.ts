/**
 * The full selection of a type. A field that is added to the schema is selected from then on.
 */
import {
  type GraphQLField,
  type GraphQLNamedType,
  getNamedType,
  isCompositeType,
  isObjectType,
  isRequiredArgument,
  isUnionType,
} from 'graphql'
import { schema } from '../../src/graphql/schema.ts'

const MAX_LEVELS = 6

/** Selects a prediction within a prediction, but none within that. */
export function selectionOf(typename: string, parents: readonly string[] = []): string {
  const type = schema.getType(typename)
  if (type === undefined) throw new Error(`no type ${typename}`)
  const path = [...parents, typename]
  if (isUnionType(type) || !isObjectType(type)) {
    const parts = schema
      .getPossibleTypes(type as never)
      .map(({ name }) => `... on ${name} { ${selectionOf(name, path)} }`)
    return ['__typename', ...parts].join(' ')
  }
  const fields = Object.values(type.getFields()).map(field => fieldOf(field, path))
  return ['__typename', ...fields].join(' ')
}

function fieldOf(field: GraphQLField<unknown, unknown>, path: readonly string[]): string {
  if (field.args.some(isRequiredArgument)) return ''
  const type: GraphQLNamedType = getNamedType(field.type)
  if (!isCompositeType(type)) return field.name
  const occurrences = path.filter(name => name === type.name).length
  if (occurrences >= 2 || path.length > MAX_LEVELS) return ''
  if (occurrences === 1 && !['Prediction', 'Cost'].includes(type.name)) return ''
  return `${field.name} { ${selectionOf(type.name, path)} }`
}
