/**
 * The scalars of the schema. A scalar checks the form only; the field that takes a value checks the value.
 */
import { GraphQLError, type ValueNode, valueFromASTUntyped } from 'graphql'
import { z } from 'zod'
import { builder } from './builder.ts'
import type { UploadFile } from './upload-file.ts'

/** RFC 3339, existing dates only. */
const rfc3339 = z.iso.datetime({ offset: true })
/** RFC 3339 sets no limit to the digits of a second. */
const MAX_DATE_CHARACTERS = 64

builder.scalarType('DateTime', {
  description: 'A moment, RFC 3339; answers are in UTC with milliseconds.',
  serialize: ms => new Date(ms).toISOString(),
  parseValue(value) {
    const isShort = typeof value === 'string' && value.length <= MAX_DATE_CHARACTERS
    const data = isShort ? rfc3339.safeParse(value).data : undefined
    if (data === undefined) throw new GraphQLError('DateTime: expected RFC 3339, as in 2026-01-31T12:00:00Z')
    return Date.parse(data)
  },
})

builder.scalarType('URL', {
  description: 'A URL. Any string is let through; what takes it says what is wrong with it.',
  serialize: String,
  parseValue(value) {
    if (typeof value !== 'string') throw new GraphQLError('URL: expected a string')
    return value
  },
})

builder.scalarType('JSON', {
  description: 'Any JSON value.',
  serialize: value => value,
  parseValue: value => value,
  parseLiteral: (node: ValueNode, variables) => valueFromASTUntyped(node, variables),
})

builder.scalarType('File', {
  description: 'A file of a GraphQL multipart request.',
  serialize: () => {
    throw new GraphQLError('File: only ever an input')
  },
  parseValue(value) {
    if (!isUploadFile(value)) throw new GraphQLError('File: expected a file of a GraphQL multipart request')
    return value
  },
})

const isUploadFile = (value: unknown): value is UploadFile =>
  typeof value === 'object' && value !== null && typeof (value as Partial<UploadFile>).read === 'function'
