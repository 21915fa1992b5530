/**
 * The scalars of the contract. A scalar judges form only; what takes a value judges the value.
 */
import { GraphQLError, type ValueNode, valueFromASTUntyped } from 'graphql'
import { builder } from './builder.ts'

const RFC_3339 = /^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$/

builder.scalarType('DateTime', {
  description: 'A moment, RFC 3339; answers are in UTC with milliseconds.',
  serialize: ms => new Date(ms).toISOString(),
  parseValue(value) {
    const ms = typeof value === 'string' && RFC_3339.test(value) ? Date.parse(value) : Number.NaN
    if (Number.isNaN(ms)) throw new GraphQLError('DateTime: expected RFC 3339, as in 2026-01-31T12:00:00Z')
    return ms
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
