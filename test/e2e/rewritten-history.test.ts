import { copyFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { type Harness, startGateway, submit, take, takeFinal } from '../support/gateway.ts'

const FEED = `subscription ($after: String) { predictionFeed(after: $after) {
  __typename
  ... on PredictionEvent { cursor prediction { id } }
  ... on FeedCaughtUp { cursor }
  ... on FeedGap { reason cursor }
} }`
const HISTORY = `query ($id: ID!, $after: String) { prediction(id: $id) {
  history(after: $after) { edges { cursor } } } }`

const first = async (harness: Harness, after: unknown) => {
  const feed = harness.subscribe('WebSocket', FEED, { after })
  const [item] = await take(feed, 1)
  await feed.return?.()
  return item!.data.predictionFeed
}

/** Runs a job to its end. Returns its id and the cursor of its last event. */
async function runJob(harness: Harness): Promise<{ id: string; cursor: string }> {
  const feed = harness.subscribe('WebSocket', FEED.replace('prediction { id }', 'prediction { id status }'))
  await take(feed, 1)
  const id = await submit(harness, 'sim:seconds=0.05')
  const { cursor } = (await takeFinal(feed, 1)).at(-1)
  await feed.return?.()
  return { id, cursor }
}

test('a cursor of a past that was rewritten gets FeedGap, also when the log has grown past it again', async () => {
  await using harness = await startGateway()
  const file = join(harness.folder, 'rushes.db')
  const before = await runJob(harness)
  const headBefore = (await harness.query('{ feedCursor }')).data.feedCursor
  await harness.gateway.close()
  await copyFile(file, `${file}.copy`)
  await harness.restart()
  const lost = await runJob(harness)
  const lostHead = (await harness.query('{ feedCursor }')).data.feedCursor

  await harness.gateway.close()
  // Beside the file its head is kept, by which the start would notice it.
  await rm(`${file}.head`, { force: true })
  await copyFile(`${file}.copy`, file)
  await harness.restart()
  const { id } = await runJob(harness)
  await runJob(harness)

  for (const cursor of [lost.cursor, lostHead])
    expect(await first(harness, cursor)).toEqual({
      __typename: 'FeedGap',
      reason: 'CURSOR_UNKNOWN',
      cursor: expect.any(String),
    })
  for (const cursor of [before.cursor, headBefore])
    expect(await first(harness, cursor)).toMatchObject({ __typename: 'PredictionEvent', prediction: { id } })
  const history = async (after: string) => harness.query(HISTORY, { id, after })
  expect((await history(lost.cursor)).errors![0]!.extensions!.code).toBe('BAD_ARGUMENT')
  expect((await history(before.cursor)).data.prediction.history.edges.length).toBeGreaterThan(2)
})

test('the cursor of a gap and that of a caught-up feed are cursors of their history', async () => {
  await using harness = await startGateway()
  await runJob(harness)
  const gap = await first(harness, 'nonsense')
  expect(gap.__typename).toBe('FeedGap')
  const caughtUp = await first(harness, gap.cursor)
  expect(caughtUp.__typename).toBe('FeedCaughtUp')
  expect((await first(harness, caughtUp.cursor)).__typename).toBe('FeedCaughtUp')
})
