/**
 * `npm run schema`: prints what apps see to schema.graphql.
 */
import { writeFileSync } from 'node:fs'
import { printSchema } from 'graphql'
import { schema } from '../graphql/schema.ts'

writeFileSync('schema.graphql', `${printSchema(schema)}\n`)
