/**
 * What arguments are filled with, by their types alone. `$own` is an id of the asker's own, `$asked` the value in question,
 * `$file` a file.
 * Invariant: what can't be filled is thrown, so that a type that comes later can't go unasked.
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

/** Scalars that an id of anything may stand in. */
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

/** A value that is valid, with no more in it than has to be. */
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
  if (sample === undefined) throw new Error(`nobody knows what to fill a ${name} with: say so in FILLINGS`)
  return sample
}

/** One place in an argument that an id may stand in. */
export interface ArgumentPosition {
  path: string
  scalar: string
  /** The argument, with `$asked` there. */
  text: string
}

/** Each place in a value of the type. */
export function findPositions(
  type: GraphQLInputType,
  path: string,
  enclosingTypes: readonly string[] = [],
): ArgumentPosition[] {
  if (isNonNullType(type)) return findPositions(type.ofType, path, enclosingTypes)
  if (isListType(type))
    return findPositions(type.ofType, path, enclosingTypes).map(position => ({
      ...position,
      // Beside an id of the asker's own, which is served as ever.
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

/** How many of a list: what is asked costs by it. */
const isPageSize = ({ name }: GraphQLArgument) => name === 'first'

/** As they stand behind a field's name, the required ones filled. */
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
