import { expect, test } from 'vitest'
import { createRestriction, createScope, type Restriction } from '../../../../src/domain/access-scope.ts'
import type { Filter } from '../../../../src/domain/prediction-filter.ts'
import { encodeId } from '../../../../src/graphql/global-id.ts'
import { openFilledStore } from '../../../support/filled-store.ts'
import { pageRequest } from '../../../support/store.ts'
import { SQLITE } from '../engine.ts'
import { recordStatements } from '../record-statements.ts'

const open = () => openFilledStore(SQLITE.open)
/** Returns the data of the answer, and the statements that read. */
async function askCounted(f: Awaited<ReturnType<typeof open>>, source: string, variables = {}) {
  // biome-ignore lint/suspicious/noExplicitAny: the shape is the document's
  let data: any
  const statements = await recordStatements(async () => {
    data = await f.ask(source, variables)
  })
  return { data, reads: statements.filter(text => !/^(begin|commit)/i.test(text)) }
}

const PREDICTION_FIELDS = `
  id model status input { imageUrl prompt negativePrompt duration enablePromptExpansion seed }
  outputs { url hasNsfwContent expiresAt } error { code message retryable } cost { amount currency }
  tags metadata upstreamId createdAt submittedAt startedAt finishedAt updatedAt
  timings { queueMs inferenceMs totalMs }`
const HISTORY = '(first: 5) { edges { cursor node { type previousStatus prediction { id status } } } }'

test.each<[fields: string, statements: number]>([
  [PREDICTION_FIELDS, 1],
  // Ranks of the rows, and the state of all apps.
  ['queuePosition', 3],
  ['retryOf { id }', 2],
  ['retryOf { retryOf { id } }', 3],
  [`history${HISTORY}`, 2],
  ['a: history(first: 1) { edges { cursor } } b: history(first: 2) { edges { cursor } }', 3],
  [`${PREDICTION_FIELDS} queuePosition retryOf { ${PREDICTION_FIELDS} } history${HISTORY}`, 5],
])('a page with %s takes as many statements for 2 edges as for 50', async (fields, statements) => {
  await using f = await open()
  for (const first of [2, 20, 50]) {
    const { data, reads } = await askCounted(
      f,
      `query ($first: Int!) {
        predictions(first: $first) { edges { cursor node { ${fields} } } pageInfo { hasNextPage endCursor } }
      }`,
      { first },
    )
    expect(data.predictions.edges).toHaveLength(first)
    expect([first, reads.length]).toEqual([first, statements])
  }
})

test.each<[string, Restriction | null, Filter]>([
  ['by tag', null, { tags: ['a', 'b'] }],
  ['by tag and status', null, { tags: ['a'], statuses: ['QUEUED', 'FAILED'] }],
  ['of a token restricted to a tag', createRestriction(['a'], []), {}],
  ['of such a token, by tag', createRestriction(['a'], []), { tags: ['a'] }],
  ['of such a token, by tag and status', createRestriction(['a'], []), { tags: ['a'], statuses: ['FAILED'] }],
])('a page %s is one statement', async (_, restriction, filter) => {
  await using f = await open()
  let found = 0
  const statements = await recordStatements(async () => {
    const { predictions } = await f.store.list(
      createScope(f.app, restriction),
      pageRequest({ limit: 20, filter }),
    )
    found = predictions.length
  })
  expect([found, statements.length]).toEqual([20, 1])
})

test('long histories of many predictions are read a few milliseconds at a time', async () => {
  await using f = await open()
  const { reads } = await askCounted(
    f,
    '{ predictions(first: 50) { edges { node { history(first: 99) { edges { cursor } } } } } }',
  )
  expect(reads).toHaveLength(1 + 50 / 5)
})

test('nodes take one statement for each type', async () => {
  await using f = await open()
  const ids = [...f.ids.slice(0, 20), await f.addUpload(), encodeId('App', f.app)]
  const { reads } = await askCounted(f, 'query ($ids: [ID!]!) { nodes(ids: $ids) { id } }', { ids })
  expect(reads).toHaveLength(3)
})

test.each<[what: string, document: string, statements: number]>([
  ['a prediction', 'query ($id: ID!) { prediction(id: $id) { id status outputs { url } } }', 1],
  ['two of them', 'query ($id: ID!) { a: prediction(id: $id) { id } b: prediction(id: $id) { id } }', 2],
  ['the app and its limits', '{ viewer { name limits { maxQueued } } }', 1],
  // The app, its job counts, and its spend.
  ['its usage', '{ viewer { usage { inFlight queued spentThisMonth { amount } } } }', 3],
  // Its newest and oldest event, and the mark of the newest.
  ['the head of the feed', '{ feedCursor }', 3],
])('%s is read in a fixed number of statements', async (_, document, statements) => {
  await using f = await open()
  const { reads } = await askCounted(f, document, document.includes('$id') ? { id: f.ids[7] } : {})
  expect(reads).toHaveLength(statements)
})
