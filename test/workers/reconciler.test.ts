import { describe, expect, test } from 'vitest'
import type { Fault } from '../../src/simulator/simulator.ts'
import { take, takeFinal } from '../support/gateway.ts'
import { until } from '../support/until.ts'
import {
  dataReply,
  FINAL_STATUSES,
  isSubmit,
  LEAK_MARKER,
  openWorld,
  reply,
  type TimedCall,
} from '../support/world.ts'

const MINUTE = 60_000
const DAY = 24 * 60 * MINUTE
/** The window of a POST has closed by then, and no search has given up. */
const WINDOW_MS = 3 * MINUTE
const UNKNOWN_AFTER_MS = 11 * MINUTE

const isList = (call: TimedCall) =>
  call.path === '/predictions' && (call.body as { page_size: number }).page_size > 1
const MODEL = 'alibaba/wan-2.2/i2v-plus-1080p'

type World = Awaited<ReturnType<typeof openWorld>>

/** The first POSTs get `answers`, the others a true response. The list is `listed` if it is given. */
async function openWithLostSubmits(faults: Fault[], listed?: () => object[] | Fault | null) {
  const left = [...faults]
  const world = await openWorld({
    env: { UPSTREAM_CONCURRENCY: '5' },
    fault(call) {
      if (isSubmit(call)) return left.shift() ?? null
      if (!isList(call)) return null
      const list = listed?.() ?? null
      return Array.isArray(list) ? dataReply({ page: 1, items: list }) : list
    },
  })
  return world
}

const untilUnknown = (world: World, prompt: string) =>
  until(async () => (await world.job(prompt)).submission === 'unknown')
/** Searches that were made. */
const searchCount = (world: World) => world.calls.filter(isList).length
/** `count` searches that began after this were answered, and their results written. */
const untilSearched = async ({ store }: World, count = 1) => {
  const { change } = store
  let written = 0
  store.change = async (...args) => {
    const job = await change(...args)
    written++
    return job
  }
  await until(() => written >= count)
  store.change = change
}
const item = (over: object = {}) => ({
  id: 'f'.repeat(32),
  model: MODEL,
  status: 'processing',
  created_at: moment(0),
  ...over,
})

test('a POST that upstream accepted and whose answer was lost is found in the list, and never sent again', async () => {
  await using world = await openWithLostSubmits([{ cut: 'after' }])
  const { id, prompt } = await world.submit()
  await untilUnknown(world, prompt)
  expect(await world.read(id)).toMatchObject({
    status: 'QUEUED',
    queuePosition: null,
    upstreamId: null,
    error: null,
  })
  world.advanceClock(WINDOW_MS)
  const done = await world.untilStatus(id, ...FINAL_STATUSES)
  expect(done).toMatchObject({ status: 'COMPLETED', error: null, cost: { amount: 0.8 } })
  expect(done.outputs[0].url).toContain(done.upstreamId)
  expect(world.submits()).toHaveLength(1)
})

test('a POST that a dead process left unanswered is found by the next process', async () => {
  let stalls = true
  await using world = await openWorld({
    fault: call => (stalls && isSubmit(call) ? { stall: 'after' } : null),
  })
  const { id, prompt } = await world.submit()
  await until(() => world.submits().length === 1)
  stalls = false
  await world.harness.restart()
  await untilUnknown(world, prompt)
  world.advanceClock(WINDOW_MS)
  expect(await world.untilStatus(id, ...FINAL_STATUSES)).toMatchObject({ status: 'COMPLETED' })
  expect(world.submits()).toHaveLength(1)
})

test('a POST that a sleep cuts is found in the list: its window stays where it was', async () => {
  let isUnreadable = true
  await using world = await openWorld({
    env: { UPSTREAM_SUBMIT_TIMEOUT_MS: '1000' },
    fault: call => (isSubmit(call) ? { stall: 'after' } : isUnreadable ? reply(503, '') : null),
  })
  const { id, prompt } = await world.submit()
  await until(() => world.submits().length === 1)
  world.sleep(2 * 60 * MINUTE)
  await untilUnknown(world, prompt)
  await until(() => world.log.some(({ message }) => /slept/.test(message)))
  // Long past UPSTREAM_UNKNOWN_MS, but the list was not read yet.
  await untilSearched(world)
  expect(await world.read(id)).toMatchObject({ status: 'QUEUED', error: null })
  isUnreadable = false
  expect(await world.untilStatus(id, ...FINAL_STATUSES)).toMatchObject({ status: 'COMPLETED' })
  expect(world.submits()).toHaveLength(1)
})

test("two apps' unanswered submits and one match: neither gets the other's video", async () => {
  await using world = await openWithLostSubmits([{ cut: 'after' }, { cut: 'before' }])
  const other = await world.otherAppKey()
  const [mine, theirs] = await world.withoutSubmitter(async () => [
    await world.submit(),
    await world.submit('', other),
  ])
  for (const { prompt } of [mine, theirs]) await untilUnknown(world, prompt)
  expect(world.submittedPrompts().sort()).toEqual([mine.prompt, theirs.prompt])
  world.advanceClock(UNKNOWN_AFTER_MS)
  for (const { prompt } of [mine, theirs])
    await until(async () => (await world.job(prompt)).status === 'FAILED')
  for (const _ of [1, 2]) {
    world.advanceClock(UNKNOWN_AFTER_MS)
    await untilSearched(world, 2)
  }
  for (const { prompt } of [mine, theirs])
    expect(await world.job(prompt)).toMatchObject({
      status: 'FAILED',
      error: 'SUBMISSION_UNKNOWN',
      upstreamId: null,
      submission: 'unknown',
    })
  expect(world.submits()).toHaveLength(2)
})

describe('an unanswered submit is not matched with a listed job', () => {
  test.each<[title: string, listed: () => object[]]>([
    ['if two listed jobs match it', () => [item(), item({ id: 'e'.repeat(32) })]],
    ['that has another input', () => [item({ input: { prompt: 'another' } })]],
    ['that has another image', () => [item({ inputs: { image: 'https://images.example/dog.png' } })]],
    ['that was created before it was sent', () => [item({ created_at: moment(-2 * WINDOW_MS) })]],
    ['that was created long after', () => [item({ created_at: moment(WINDOW_MS) })]],
    ['that is of another model', () => [item({ model: 'alibaba/wan-2.2/i2v-plus-480p' })]],
    ['that does not say of which model it is', () => [item({ model: null })]],
    ['that does not say when it was created', () => [item({ created_at: null })]],
    ['that has no id', () => [item({ id: '' })]],
    [
      'if another listed job does not say when it was created',
      () => [item(), item({ id: 'e', created_at: null })],
    ],
    ['if upstream lists no job', () => []],
  ])('%s', async (_, listed) => {
    await using world = await openWithLostSubmits([{ cut: 'before' }], listed)
    const { id, prompt } = await world.submit()
    await untilUnknown(world, prompt)
    world.advanceClock(UNKNOWN_AFTER_MS)
    expect(await world.untilStatus(id, ...FINAL_STATUSES)).toMatchObject({
      status: 'FAILED',
      error: { code: 'SUBMISSION_UNKNOWN' },
      upstreamId: null,
    })
  })

  test('that belongs to another row', async () => {
    let owned = ''
    await using world = await openWithLostSubmits([{ cut: 'before' }], () => [item({ id: owned })])
    const lost = await world.submit()
    await untilUnknown(world, lost.prompt)
    const kept = await world.submit('sim:seconds=0.1')
    owned = (await world.untilStatus(kept.id, 'COMPLETED')).upstreamId
    world.advanceClock(UNKNOWN_AFTER_MS)
    expect(await world.untilStatus(lost.id, ...FINAL_STATUSES)).toMatchObject({
      status: 'FAILED',
      upstreamId: null,
    })
  })

  test('if the list cannot be read', async () => {
    await using world = await openWithLostSubmits([{ cut: 'after' }], () => reply(500, '<html>'))
    const { id, prompt } = await world.submit()
    await untilUnknown(world, prompt)
    world.advanceClock(WINDOW_MS)
    await untilSearched(world)
    expect(await world.read(id)).toMatchObject({ status: 'QUEUED' })
  })

  test('while another matching job could still be created', async () => {
    await using world = await openWithLostSubmits([{ cut: 'after' }])
    const { prompt } = await world.submit()
    await untilUnknown(world, prompt)
    world.advanceClock(100_000)
    await world.untilSubmitterClaimed()
    expect(searchCount(world)).toBe(0)
  })
})

test('other listed jobs are no obstacle: of another model, of another time, of other rows', async () => {
  await using world = await openWithLostSubmits([{ cut: 'before' }], () => [
    item({ id: 'a', created_at: moment(WINDOW_MS) }),
    item({ id: 'b', model: 'alibaba/wan-2.2/i2v-plus-480p' }),
    item({ inputs: { prompt: `a ${LEAK_MARKER} 1 sim:seconds=0`, seed: 7, negative_prompt: '' } }),
    item({ id: 'd', created_at: moment(-2 * WINDOW_MS) }),
  ])
  const { id, prompt } = await world.submit()
  await untilUnknown(world, prompt)
  world.advanceClock(WINDOW_MS)
  expect(await world.untilStatus(id, 'CREATED')).toMatchObject({ upstreamId: 'f'.repeat(32) })
})

test('a late end corrects it: the subscriber got the end, the feed gets the correction', async () => {
  let hidden = true
  await using world = await openWithLostSubmits([{ cut: 'after' }], () => (hidden ? [] : null))
  const feed = world.harness.subscribe(
    'SSE',
    `subscription { predictionFeed { __typename ... on PredictionEvent {
      previousStatus prediction { id status cost { amount } error { code } outputs { url } } } } }`,
  )
  await take(feed, 1)
  const { id, prompt } = await world.submit()
  const watcher = world.harness.subscribe(
    'WebSocket',
    'subscription ($id: ID!) { predictionUpdated(id: $id) { status } }',
    { id },
  )
  await untilUnknown(world, prompt)
  world.advanceClock(UNKNOWN_AFTER_MS)
  const [, failed] = await takeFinal(feed, 1)
  expect(failed).toMatchObject({
    prediction: { id, status: 'FAILED', error: { code: 'SUBMISSION_UNKNOWN' } },
  })
  const watched = []
  for await (const { data } of watcher) watched.push(data.predictionUpdated.status)
  expect(watched.at(-1)).toBe('FAILED')

  hidden = false
  world.advanceClock(UNKNOWN_AFTER_MS)
  const [corrected] = await takeFinal(feed, 1)
  expect(corrected).toMatchObject({
    previousStatus: 'FAILED',
    prediction: { id, status: 'COMPLETED', error: null, cost: { amount: 0.8 } },
  })
  expect(corrected.prediction.outputs).toHaveLength(1)
  expect(await world.read(id)).toMatchObject({ status: 'COMPLETED', error: null })
  expect(world.submits()).toHaveLength(1)
})

test('it ends as unknown in time though upstream cannot be read at all', async () => {
  let down = false
  await using world = await openWorld({
    env: { UPSTREAM_CONCURRENCY: '9' },
    fault: call => (isSubmit(call) ? (down ? { cut: 'before' } : null) : down ? reply(503, '') : null),
  })
  const running: { id: string }[] = []
  for (let n = 0; n < 6; n++) running.push(await world.submit('sim:seconds=3600'))
  for (const { id } of running) await world.untilStatus(id, 'CREATED')
  down = true
  const { id, prompt } = await world.submit()
  await untilUnknown(world, prompt)
  await until(async () => (await (await world.harness.fetch('/health/ready')).text()).includes('failing'))
  world.advanceClock(UNKNOWN_AFTER_MS)
  expect(await world.untilStatus(id, ...FINAL_STATUSES)).toMatchObject({
    error: { code: 'SUBMISSION_UNKNOWN' },
  })
})

test('after seven days the search ends', async () => {
  await using world = await openWithLostSubmits([{ cut: 'before' }])
  const { prompt } = await world.submit()
  await untilUnknown(world, prompt)
  world.advanceClock(UNKNOWN_AFTER_MS)
  await until(async () => (await world.job(prompt)).status === 'FAILED')
  expect((await world.job(prompt)).tracking).toBe('expired')
  world.advanceClock(7 * DAY)
  await until(async () => (await world.job(prompt)).tracking === null)
  expect(await world.job(prompt)).toMatchObject({ status: 'FAILED', error: 'SUBMISSION_UNKNOWN' })
})

/** Creation time by upstream's clock, which is not advanced. */
const moment = (ahead: number) => new Date(Date.now() + ahead).toISOString()
