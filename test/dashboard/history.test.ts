import { expect, test } from 'vitest'
import type { PredictionTimes } from '../../src/dashboard/documents.ts'
import { createHistory } from '../../src/dashboard/history.ts'
import { at, NOON, timesOf } from '../support/prediction-card.ts'

test('in the history only newer states replace older ones, from events and from pages', async () => {
  const page = (nodes: PredictionTimes[], hasNextPage = false) => ({
    predictions: { edges: nodes.map(node => ({ node })), pageInfo: { hasNextPage, endCursor: 'next' } },
  })
  const done = timesOf({ status: 'COMPLETED', finishedAt: at(5), updatedAt: at(5) })
  let answer = page([done, timesOf({ id: 'b' })])
  const history = createHistory({ request: async <Data>() => answer as Data, now: () => NOON })
  history.record(timesOf({ id: 'b', status: 'FAILED', updatedAt: at(9) }))
  history.record(timesOf({}))
  await history.load()
  expect(history.timesById.get('a')).toEqual(done)
  expect(history.timesById.get('b')).toMatchObject({ status: 'FAILED' })
  expect(history.truncatedAt).toBeNull()
  // An endless list is read up to a limit, and marked as truncated.
  answer = page([done], true)
  await history.load()
  expect(history.truncatedAt).toBe(2000)
})
