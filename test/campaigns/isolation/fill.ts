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
export const CARRIERS = new Set(['ID', 'String', 'URL', 'JSON'])
const FILLINGS: Readonly<Record<string, string>> = {
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
export function fillingOf(type: GraphQLInputType): string {
  if (isNonNullType(type)) return fillingOf(type.ofType)
  if (isListType(type)) return `[${fillingOf(type.ofType)}]`
  if (isEnumType(type)) return type.getValues()[0]!.name
  if (!isInputObjectType(type)) return scalarFilling(type)
  const fields = Object.values(type.getFields())
  const given = type.isOneOf ? fields.slice(0, 1) : fields.filter(isRequiredInputField)
  return `{ ${given.map(({ name, type }) => `${name}: ${fillingOf(type)}`).join(', ')} }`
}

function scalarFilling({ name }: GraphQLScalarType): string {
  const filling = FILLINGS[name]
  if (filling === undefined) throw new Error(`nobody knows what to fill a ${name} with: say so in FILLINGS`)
  return filling
}

/** One place in an argument that an id may stand in. */
export interface Slot {
  path: string
  scalar: string
  /** The argument, with `$asked` there. */
  text: string
}

/** Each place in a value of the type. */
export function slotsIn(type: GraphQLInputType, path: string, within: readonly string[] = []): Slot[] {
  if (isNonNullType(type)) return slotsIn(type.ofType, path, within)
  if (isListType(type))
    return slotsIn(type.ofType, path, within).map(slot => ({
      ...slot,
      // Beside an id of the asker's own, which is served as ever.
      text: slot.scalar === 'ID' ? `[${slot.text}, $own]` : `[${slot.text}]`,
    }))
  if (isEnumType(type)) return []
  if (!isInputObjectType(type)) {
    scalarFilling(type)
    return CARRIERS.has(type.name) ? [{ path, scalar: type.name, text: '$asked' }] : []
  }
  if (within.includes(type.name)) return []
  const fields = Object.values(type.getFields())
  return fields.flatMap(field =>
    slotsIn(field.type, `${path}.${field.name}`, [...within, type.name]).map(slot => {
      const others = type.isOneOf
        ? []
        : fields.filter(other => other !== field && isRequiredInputField(other))
      const given = [`${field.name}: ${slot.text}`, ...others.map(other => entryOf(other))]
      return { ...slot, text: `{ ${given.join(', ')} }` }
    }),
  )
}

const entryOf = ({ name, type }: GraphQLArgument | GraphQLInputField) => `${name}: ${fillingOf(type)}`

/** How many of a list: what is asked costs by it. */
const isCount = ({ name }: GraphQLArgument) => name === 'first'

/** As they stand behind a field's name, the required ones filled. */
export function argumentsOf(args: readonly GraphQLArgument[], slot?: { name: string; text: string }): string {
  const given = args.flatMap(arg =>
    arg.name === slot?.name
      ? `${arg.name}: ${slot.text}`
      : isRequiredArgument(arg) || isCount(arg)
        ? entryOf(arg)
        : [],
  )
  return given.length === 0 ? '' : `(${given.join(', ')})`
}
