/**
 * Argument values by type. `$own` is an id of the requester, `$asked` the probed value, `$file` a file.
 * Invariant: a type without a sample value throws, so a new type cannot go unprobed.
 */
import {
  type GraphQLArgument,
  type GraphQLInputField,
  type GraphQLInputType,
  type GraphQLScalarType,
  isEnumType,
  isInputObjectType,
  isListType,
  isNonNullType,
  isRequiredArgument,
  isRequiredInputField,
} from 'graphql'

/** Scalars that can carry an id. */
export const ID_CAPABLE_SCALARS = new Set(['ID', 'String', 'URL', 'JSON'])
const SAMPLE_VALUES: Readonly<Record<string, string>> = {
  ID: '$own',
  String: '"some text"',
  URL: '"https://images.example/own.png"',
  JSON: '{ some: "text" }',
  Int: '2',
  Float: '1.5',
  Boolean: 'true',
  DateTime: '"2026-01-31T12:00:00Z"',
  File: '$file',
}

/** A valid value with only the required parts. */
export function minimalValue(type: GraphQLInputType): string {
  if (isNonNullType(type)) return minimalValue(type.ofType)
  if (isListType(type)) return `[${minimalValue(type.ofType)}]`
  if (isEnumType(type)) return type.getValues()[0]!.name
  if (!isInputObjectType(type)) return sampleScalar(type)
  const fields = Object.values(type.getFields())
  const includedFields = type.isOneOf ? fields.slice(0, 1) : fields.filter(isRequiredInputField)
  return `{ ${includedFields.map(({ name, type }) => `${name}: ${minimalValue(type)}`).join(', ')} }`
}

function sampleScalar({ name }: GraphQLScalarType): string {
  const sample = SAMPLE_VALUES[name]
  if (sample === undefined) throw new Error(`no sample value for the scalar ${name}: add it to SAMPLE_VALUES`)
  return sample
}

/** A position in an argument that can hold an id. */
export interface ArgumentPosition {
  path: string
  scalar: string
  /** The argument with `$asked` at that position. */
  text: string
}

/** All positions in a value of this type. */
export function findPositions(
  type: GraphQLInputType,
  path: string,
  enclosingTypes: readonly string[] = [],
): ArgumentPosition[] {
  if (isNonNullType(type)) return findPositions(type.ofType, path, enclosingTypes)
  if (isListType(type))
    return findPositions(type.ofType, path, enclosingTypes).map(position => ({
      ...position,
      // Beside an own id, which must be served as usual.
      text: position.scalar === 'ID' ? `[${position.text}, $own]` : `[${position.text}]`,
    }))
  if (isEnumType(type)) return []
  if (!isInputObjectType(type)) {
    sampleScalar(type)
    return ID_CAPABLE_SCALARS.has(type.name) ? [{ path, scalar: type.name, text: '$asked' }] : []
  }
  if (enclosingTypes.includes(type.name)) return []
  const fields = Object.values(type.getFields())
  return fields.flatMap(field =>
    findPositions(field.type, `${path}.${field.name}`, [...enclosingTypes, type.name]).map(position => {
      const others = type.isOneOf
        ? []
        : fields.filter(other => other !== field && isRequiredInputField(other))
      const entries = [`${field.name}: ${position.text}`, ...others.map(other => formatEntry(other))]
      return { ...position, text: `{ ${entries.join(', ')} }` }
    }),
  )
}

const formatEntry = ({ name, type }: GraphQLArgument | GraphQLInputField) => `${name}: ${minimalValue(type)}`

/** `first` counts into the query's cost. */
const isPageSize = ({ name }: GraphQLArgument) => name === 'first'

/** The argument list of a field, with the required arguments filled. */
export function formatArguments(
  args: readonly GraphQLArgument[],
  position?: { name: string; text: string },
): string {
  const entries = args.flatMap(arg =>
    arg.name === position?.name
      ? `${arg.name}: ${position.text}`
      : isRequiredArgument(arg) || isPageSize(arg)
        ? formatEntry(arg)
        : [],
  )
  return entries.length === 0 ? '' : `(${entries.join(', ')})`
}
