/**
 * `npm run schema`: writes the GraphQL schema to schema.graphql.
 */
import { writeFileSync } from 'node:fs'
import { printSchema } from 'graphql'
import { schema } from '../graphql/schema.ts'

writeFileSync('schema.graphql', `${printSchema(schema)}\n`)
