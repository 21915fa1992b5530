import { readFileSync } from 'node:fs'
import {
  buildSchema,
  type GraphQLSchema,
  isEnumType,
  isInputObjectType,
  isInterfaceType,
  isObjectType,
  isUnionType,
  printSchema,
} from 'graphql'
import { describe, expect, test } from 'vitest'
import { schema } from '../../src/graphql/schema.ts'

const contract = buildSchema(readFileSync(new URL('../support/contract.graphql', import.meta.url), 'utf8'))

/** Every fact of a schema on which an app could depend, one per line. */
function factsOf(source: GraphQLSchema): Map<string, string> {
  const facts = new Map<string, string>()
  for (const type of Object.values(source.getTypeMap())) {
    if (type.name.startsWith('__')) continue
    facts.set(type.name, type.constructor.name)
    if (isObjectType(type) || isInterfaceType(type)) {
      for (const implemented of type.getInterfaces())
        facts.set(`${type.name} implements ${implemented.name}`, 'yes')
      for (const field of Object.values(type.getFields())) {
        facts.set(`${type.name}.${field.name}`, String(field.type))
        for (const arg of field.args)
          facts.set(
            `${type.name}.${field.name}(${arg.name})`,
            `${arg.type} = ${JSON.stringify(arg.defaultValue)}`,
          )
      }
    }
    if (isInputObjectType(type)) {
      facts.set(`${type.name} oneOf`, String(type.isOneOf))
      for (const field of Object.values(type.getFields()))
        facts.set(`${type.name}.${field.name}`, `${field.type} = ${JSON.stringify(field.defaultValue)}`)
    }
    if (isEnumType(type))
      for (const value of type.getValues()) facts.set(`${type.name}.${value.name}`, 'value')
    if (isUnionType(type))
      for (const member of type.getTypes()) facts.set(`${type.name} = ${member.name}`, 'member')
  }
  return facts
}

describe('the schema', () => {
  const built = factsOf(schema)
  const promised = [...factsOf(contract)]

  test.each(promised)('has %s of the contract', (fact, meaning) => {
    expect(built.get(fact)).toBe(meaning)
  })

  test('is what schema.graphql says (npm run schema)', () => {
    expect(readFileSync('schema.graphql', 'utf8')).toBe(`${printSchema(schema)}\n`)
  })
})
