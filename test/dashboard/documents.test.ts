import { readFileSync } from 'node:fs'
import { buildSchema, parse, validate } from 'graphql'
import { expect, test } from 'vitest'
import * as documents from '../../src/dashboard/documents.ts'

const documentEntries = Object.entries<unknown>(documents).filter(
  (entry): entry is [string, string] => typeof entry[1] === 'string',
)

test.each(documentEntries)('%s is valid against the schema', (_, document) => {
  const schema = buildSchema(readFileSync('schema.graphql', 'utf8'))
  expect(validate(schema, parse(document))).toEqual([])
})

test('the statuses are those of the schema', () => {
  const schema = buildSchema(readFileSync('schema.graphql', 'utf8'))
  const values = schema.getType('PredictionStatus')!.toConfig() as unknown as { values: object }
  expect(new Set(Object.keys(values.values))).toEqual(new Set(documents.PREDICTION_STATUSES))
})

test('the feed selects the cursor of each item type, and no field that is resolved per subscriber', () => {
  expect(documents.FEED.match(/\bcursor\b/g)).toHaveLength(3)
  expect(documents.FEED).not.toMatch(/queuePosition|retryOf|history/)
})
