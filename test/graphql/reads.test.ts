import { describe, expect, test } from 'vitest'
import { encodeId } from '../../src/graphql/global-id.ts'
import { ENGINES } from '../support/engines.ts'
import { openFilledStore } from '../support/filled-store.ts'

const HISTORY = '(first: 5) { edges { cursor node { type previousStatus prediction { id status } } } }'

describe.each(ENGINES)('reads of many objects on %s', (_, { open }) => {
  test('histories of a page are the same as those of each prediction alone', async () => {
    await using f = await openFilledStore(open)
    const data = await f.ask(`{ predictions(first: 50) { edges { node { id history${HISTORY} } } } }`)
    for (const { node } of data.predictions.edges.slice(0, 9)) {
      const alone = await f.ask(`query ($id: ID!) { prediction(id: $id) { id history${HISTORY} } }`, {
        id: node.id,
      })
      expect(alone.prediction).toEqual(node)
      expect(node.history.edges.length).toBe(
        node.history.edges.at(-1).node.prediction.status === 'FAILED' ? 2 : 1,
      )
    }
  })

  test('nodes of all types come in the order of the ids', async () => {
    await using f = await openFilledStore(open)
    const ids = [...f.ids.slice(0, 10), await f.addUpload(), encodeId('App', f.app), ...f.ids.slice(10, 20)]
    const data = await f.ask('query ($ids: [ID!]!) { nodes(ids: $ids) { id __typename } }', { ids })
    expect(data.nodes.map((node: { id: string }) => node.id)).toEqual(ids)
  })
})
