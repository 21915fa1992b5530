import { describe, expect, test } from 'vitest'
import { drain, startGateway, submit, TRANSPORTS, take, takeFinal } from '../support/gateway.ts'
import { until } from '../support/until.ts'

const UPDATED = `subscription ($id: ID!) {
  predictionUpdated(id: $id) { id status outputs { url } }
}`
const FEED = `subscription ($after: String, $filter: PredictionFilter) {
  predictionFeed(after: $after, filter: $filter) {
    __typename
    ... on PredictionEvent { cursor type previousStatus prediction { id status tags } }
    ... on FeedCaughtUp { cursor }
    ... on FeedGap { reason gapCursor: cursor }
  }
}`
const ORDER = ['QUEUED', 'CREATED', 'PROCESSING', 'COMPLETED']
/** Long enough for a poll to find it PROCESSING. */
const SLOW = 'sim:seconds=1.2'

describe.each(TRANSPORTS)('over %s', transport => {
  test('predictionUpdated delivers the present state at once, then every change, and completes after a final one', async () => {
    await using harness = await startGateway()
    const id = await submit(harness, SLOW)
    const states = (await drain(harness.subscribe(transport, UPDATED, { id }))).map(
      r => r.data.predictionUpdated,
    )
    expect(states.every(state => state.id === id)).toBe(true)
    const statuses = states.map(state => state.status)
    expect(statuses).toEqual(ORDER.slice(ORDER.indexOf(statuses[0])))
    expect(states.at(-1).outputs[0].url).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/files\/\w+\.mp4$/)
  })

  test('a finished prediction is delivered once, then the subscription completes', async () => {
    await using harness = await startGateway()
    const id = await submit(harness)
    await drain(harness.subscribe(transport, UPDATED, { id }))
    const again = await drain(harness.subscribe(transport, UPDATED, { id }))
    expect(again.map(r => r.data.predictionUpdated.status)).toEqual(['COMPLETED'])
  })

  test("an unknown id, another app's id and garbage get the same NOT_FOUND", async () => {
    await using harness = await startGateway()
    const otherAppJob = await submit(harness, 'x', await harness.gateway.issueKey('other', 60_000))
    const unknown = Buffer.from('Prediction:018f0000-0000-7000-8000-000000000000').toString('base64url')
    const answers = []
    for (const id of [otherAppJob, unknown, 'garbage', ''])
      answers.push(await drain(harness.subscribe(transport, UPDATED, { id })))
    for (const answer of answers) expect(answer).toEqual(answers[0])
    expect(answers[0]).toHaveLength(1)
    expect(answers[0]?.[0]?.errors?.[0]).toMatchObject({
      message: 'Nothing was found for this id.',
      extensions: { code: 'NOT_FOUND' },
    })
  })

  test('the feed begins with its cursor, then delivers every event in order, once', async () => {
    await using harness = await startGateway()
    const feed = harness.subscribe(transport, FEED)
    const [first] = await take(feed, 1)
    expect(first?.data.predictionFeed.__typename).toBe('FeedCaughtUp')
    const ids = [await submit(harness, SLOW), await submit(harness, SLOW)]
    const events = await takeFinal(feed, 2)
    for (const id of ids)
      expect(events.filter(e => e.prediction.id === id).map(e => e.prediction.status)).toEqual(ORDER)
    expect(events.filter(e => e.type === 'QUEUED').map(e => e.previousStatus)).toEqual([null, null])
    expect(new Set(events.map(e => e.cursor)).size).toBe(8)
    await feed.return?.()
  })

  test('from any cursor the feed delivers exactly the later events, then FeedCaughtUp', async () => {
    await using harness = await startGateway()
    const live = harness.subscribe(transport, FEED)
    const [start] = await take(live, 1)
    await submit(harness)
    await submit(harness)
    const events = await takeFinal(live, 2)
    const cursors = [start?.data.predictionFeed.cursor, ...events.map(e => e.cursor)]
    for (const [i, after] of cursors.entries()) {
      const replay = harness.subscribe(transport, FEED, { after })
      const items = (await take(replay, events.length - i + 1)).map(r => r.data.predictionFeed)
      expect(items.slice(0, -1)).toEqual(events.slice(i))
      expect(items.at(-1).__typename).toBe('FeedCaughtUp')
      await replay.return?.()
    }
    await live.return?.()
  })

  test('the feed resumes from its cursor across a restart of the gateway', async () => {
    await using harness = await startGateway()
    const before = harness.subscribe(transport, FEED)
    await take(before, 1)
    const id = await submit(harness, SLOW)
    const first = (await take(before, 2)).map(r => r.data.predictionFeed)
    await before.return?.()
    await harness.restart()
    const after = harness.subscribe(transport, FEED, { after: first[1].cursor })
    const rest: string[] = []
    while (rest.at(-1) !== 'COMPLETED') {
      const item = (await take(after, 1))[0]?.data.predictionFeed
      if (item.__typename === 'PredictionEvent') rest.push(item.prediction.status)
    }
    expect([...first.map(e => e.prediction.status), ...rest]).toEqual(ORDER)
    expect(first.every(e => e.prediction.id === id)).toBe(true)
    await after.return?.()
  })

  test('a filter delivers the events that match it and no others', async () => {
    await using harness = await startGateway()
    const unwanted = await submit(harness)
    const feed = harness.subscribe(transport, FEED, { filter: { statuses: ['COMPLETED'] } })
    await take(feed, 1)
    const wanted = await submit(harness)
    const done = (await take(feed, 2)).map(r => r.data.predictionFeed.prediction)
    expect(new Set(done.map(p => p.id))).toEqual(new Set([wanted, unwanted]))
    expect(done.map(p => p.status)).toEqual(['COMPLETED', 'COMPLETED'])
    await feed.return?.()
  })

  test('a subscriber without matching events receives how far the log was read', async () => {
    await using harness = await startGateway({ overrides: { cursorRefreshMs: 300 } })
    const feed = harness.subscribe(transport, FEED, { filter: { tags: ['unused'] } })
    const [first] = await take(feed, 1)
    await submit(harness)
    const items = (await take(feed, 4)).map(r => r.data.predictionFeed)
    expect(items.every(item => item.__typename === 'FeedCaughtUp')).toBe(true)
    expect(items.at(-1).cursor).not.toBe(first?.data.predictionFeed.cursor)
    await feed.return?.()
  })

  test.each([
    ['malformed', 'nonsense'],
    ['of another database', 'AAAAAAAAAAAAAAAAAAAAAA'],
  ])(
    'a cursor that is %s gets FeedGap, and the feed continues live from the cursor in it',
    async (_, after) => {
      await using harness = await startGateway()
      const feed = harness.subscribe(transport, FEED, { after })
      const [gap] = await take(feed, 1)
      expect(gap?.data.predictionFeed).toMatchObject({ __typename: 'FeedGap', reason: 'CURSOR_UNKNOWN' })
      await submit(harness)
      const [event] = await take(feed, 1)
      expect(event?.data.predictionFeed).toMatchObject({ type: 'QUEUED' })
      const again = harness.subscribe(transport, FEED, { after: gap?.data.predictionFeed.gapCursor })
      expect((await take(again, 1))[0]).toEqual(event)
      await feed.return?.()
      await again.return?.()
    },
  )

  test('a cursor from before the pruned events gets FeedGap', async () => {
    await using harness = await startGateway()
    const live = harness.subscribe(transport, FEED)
    const [start] = await take(live, 1)
    await submit(harness)
    await takeFinal(live, 1)
    await live.return?.()
    await harness.gateway.store.pruneEvents({ occurredBefore: Date.now() + 1, limit: 2 })
    const feed = harness.subscribe(transport, FEED, { after: start?.data.predictionFeed.cursor })
    const [gap] = await take(feed, 1)
    expect(gap?.data.predictionFeed).toMatchObject({ __typename: 'FeedGap', reason: 'CURSOR_TOO_OLD' })
    await feed.return?.()
  })

  test("one app's feed never contains another app's events", async () => {
    await using harness = await startGateway()
    const other = await harness.gateway.issueKey('other', 60_000)
    const feed = harness.subscribe(transport, FEED)
    await take(feed, 1)
    const otherAppJob = await submit(harness, 'sim:seconds=0.1', other)
    const ownJob = await submit(harness)
    await until(() => harness.gateway.simulator?.calls.length)
    const ids = (await takeFinal(feed, 1)).map(item => item.prediction.id)
    expect(new Set(ids)).toEqual(new Set([ownJob]))
    expect(otherAppJob).not.toBe(ownJob)
    await feed.return?.()
  })

  test('an unexpected error is masked and logged once', async () => {
    await using harness = await startGateway()
    const { store } = harness.gateway
    const id = await submit(harness, 'sim:seconds=30')
    await until(async () => harness.log.some(line => line.message === 'submitted'))
    store.snapshot = async () => {
      throw new Error('the secret cause')
    }
    const [answer] = await drain(harness.subscribe(transport, UPDATED, { id }))
    expect(answer?.errors?.map(e => e.message)).toEqual(['Unexpected error.'])
    expect(JSON.stringify(answer)).not.toContain('secret')
    const logged = harness.log.filter(line => String(line.fields.err).includes('the secret cause'))
    expect(logged).toHaveLength(1)
  })

  test('a feed that cannot start gets a masked error, which is logged once', async () => {
    await using harness = await startGateway()
    harness.gateway.store.eventRange = async () => {
      throw new Error('the secret cause')
    }
    const end = await drain(harness.subscribe(transport, FEED)).then(
      all => JSON.stringify(all),
      error => JSON.stringify(error) + String(error?.message),
    )
    expect(end).toContain('Unexpected error.')
    expect(end).not.toContain('secret')
    expect(harness.log.filter(line => String(line.fields.err).includes('the secret cause'))).toHaveLength(1)
  })

  test('when the log cannot be read for a while no subscriber misses an event', async () => {
    await using harness = await startGateway()
    const feed = harness.subscribe(transport, FEED)
    await take(feed, 1)
    const { store } = harness.gateway
    const { allEventsAfter } = store
    store.allEventsAfter = async () => {
      throw new Error('the disk is away')
    }
    const id = await submit(harness)
    await until(() => harness.log.find(line => String(line.fields.err).includes('the disk is away')))
    store.allEventsAfter = allEventsAfter
    const items = await takeFinal(feed, 1)
    expect(items.map(item => item.prediction.id)).toEqual(items.map(() => id))
    expect(items[0].prediction.status).toBe('QUEUED')
    await feed.return?.()
  })
})
