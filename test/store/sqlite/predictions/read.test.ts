import { graphql } from 'graphql'
import { expect, test } from 'vitest'
import { createTokens } from '../../../../src/auth/access-token.ts'
import { createRestriction, type Restriction } from '../../../../src/domain/access-scope.ts'
import type { Filter } from '../../../../src/domain/prediction-filter.ts'
import { createCursors } from '../../../../src/events/cursor.ts'
import { createSubscriptionSources } from '../../../../src/events/subscription-source.ts'
import { createContext } from '../../../../src/graphql/context.ts'
import { encodeId } from '../../../../src/graphql/global-id.ts'
import { schema } from '../../../../src/graphql/schema.ts'
import { openSqliteStore } from '../../../../src/store/sqlite/sqlite-store.ts'
import { addPrediction, fullAccess, newApp, pageRequest, T } from '../../../support/store.ts'
import { recordStatements } from '../record-statements.ts'

/** The schema on a store that nothing else reads. */
async function openFilledStore() {
  const store = openSqliteStore(':memory:', () => {})
  const app = await newApp(store)
  const ids: string[] = []
  for (let i = 0; i < 60; i++) {
    const { id } = await addPrediction(store, app, T + i, {
      retryOf: ids.at(-1) ?? null,
      tags: ['a'],
      metadata: { i },
    })
    if (i % 2) await store.change(id, () => ({ status: 'FAILED', error: 'GENERATION_FAILED' }), T + i)
    ids.push(id)
  }
  const cursorsOf = createCursors(store.cursorKey, store.epoch)
  const services = {
    store,
    cursorsOf,
    sources: createSubscriptionSources(store, cursorsOf),
    tokens: createTokens(store.tokenKey, () => T),
    now: () => T,
    maxUploadBytesPerApp: 1e9,
    toPublicUrl: (path: string) => path,
    logNotice() {},
    countRejection() {},
    nextSlice: async () => {},
  }
  return {
    store,
    app,
    ids: ids.map(id => encodeId('Prediction', id)),
    async ask(source: string, variableValues: Record<string, unknown> = {}) {
      const contextValue = createContext(services, fullAccess(app))
      let answer: Awaited<ReturnType<typeof graphql>> | undefined
      const statements = await recordStatements(async () => {
        answer = await graphql({ schema, source, variableValues, contextValue })
      })
      expect(answer!.errors).toBeUndefined()
      // biome-ignore lint/suspicious/noExplicitAny: the shape is the document's
      return { data: answer!.data as any, reads: statements.filter(text => !/^(begin|commit)/i.test(text)) }
    },
    [Symbol.asyncDispose]: store.close,
  }
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
  await using f = await openFilledStore()
  for (const first of [2, 20, 50]) {
    const { data, reads } = await f.ask(
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
  await using f = await openFilledStore()
  let found = 0
  const statements = await recordStatements(async () => {
    const { predictions } = await f.store.list(
      { appId: f.app, restriction },
      pageRequest({ limit: 20, filter }),
    )
    found = predictions.length
  })
  expect([found, statements.length]).toEqual([20, 1])
})

test('histories of a page are the same as those of each prediction alone', async () => {
  await using f = await openFilledStore()
  const page = `{ predictions(first: 50) { edges { node { id history${HISTORY} } } } }`
  const { data } = await f.ask(page)
  for (const { node } of data.predictions.edges.slice(0, 9)) {
    const alone = await f.ask(`query ($id: ID!) { prediction(id: $id) { id history${HISTORY} } }`, {
      id: node.id,
    })
    expect(alone.data.prediction).toEqual(node)
    expect(node.history.edges.length).toBe(
      node.history.edges.at(-1).node.prediction.status === 'FAILED' ? 2 : 1,
    )
  }
})

test('long histories of many predictions are read a few milliseconds at a time', async () => {
  await using f = await openFilledStore()
  const { reads } = await f.ask(
    '{ predictions(first: 50) { edges { node { history(first: 99) { edges { cursor } } } } } }',
  )
  expect(reads).toHaveLength(1 + 50 / 5)
})

test('nodes take one statement for each type, in the order of the ids', async () => {
  await using f = await openFilledStore()
  const image = { appId: f.app, hash: 'h', contentType: 'image/png' as const, width: 9, height: 9, bytes: 9 }
  const kept = await f.store.saveUpload({ image, restrictionKey: '', data: Buffer.alloc(9) }, 1e9, T)
  const upload = kept.kind === 'kept' ? encodeId('Upload', kept.upload.id) : ''
  const ids = [...f.ids.slice(0, 10), upload, encodeId('App', f.app), ...f.ids.slice(10, 20)]
  const { data, reads } = await f.ask('query ($ids: [ID!]!) { nodes(ids: $ids) { id __typename } }', { ids })
  expect(data.nodes.map((node: { id: string }) => node.id)).toEqual(ids)
  expect(reads).toHaveLength(3)
})

test.each<[what: string, document: string, statements: number]>([
  ['a prediction', 'query ($id: ID!) { prediction(id: $id) { id status outputs { url } } }', 1],
  ['two of them', 'query ($id: ID!) { a: prediction(id: $id) { id } b: prediction(id: $id) { id } }', 2],
  ['the app and its limits', '{ viewer { name limits { maxQueued } } }', 1],
  // The app, its job counts, and its spend.
  ['its usage', '{ viewer { usage { inFlight queued spentThisMonth { amount } } } }', 3],
  ['the head of the feed', '{ feedCursor }', 2],
])('%s is read in a fixed number of statements', async (_, document, statements) => {
  await using f = await openFilledStore()
  const { reads } = await f.ask(document, document.includes('$id') ? { id: f.ids[7] } : {})
  expect(reads).toHaveLength(statements)
})
