import { describe, expect, test, vi } from 'vitest'
import type { Transition } from '../../src/domain/prediction.ts'
import { createPollCircuit } from '../../src/workers/poll-circuit.ts'
import { take, takeFinal } from '../support/gateway.ts'
import { until } from '../support/until.ts'
import { FINAL_STATUSES, isPoll, isSubmit, openWorld, refusal, reply } from '../support/world.ts'

/** Each transition that a poll made, by how often it was evaluated. */
const evaluations = vi.hoisted(() => [] as { count: number }[])
vi.mock('../../src/domain/transitions.ts', async importOriginal => {
  const original = await importOriginal<typeof import('../../src/domain/transitions.ts')>()
  const counted = (transition: Transition): Transition => {
    const evaluation = { count: 0 }
    evaluations.push(evaluation)
    return job => {
      evaluation.count++
      return transition(job)
    }
  }
  return {
    ...original,
    pollSucceeded: (...poll: Parameters<typeof original.pollSucceeded>) =>
      counted(original.pollSucceeded(...poll)),
    pollFailed: (...poll: Parameters<typeof original.pollFailed>) => counted(original.pollFailed(...poll)),
  }
})

const MINUTE = 60_000
const DAY = 24 * 60 * MINUTE

type World = Awaited<ReturnType<typeof openWorld>>
/** One more look, from now on, has been answered and written down. */
const untilPolled = async (world: World) => {
  const before = world.polls().length
  await until(() => world.polls().length > before)
}

describe('a job past its deadline', () => {
  test('fails with TIMED_OUT, keeps its price and gives up its place', async () => {
    await using world = await openWorld({ env: { UPSTREAM_CONCURRENCY: '1' } })
    const slow = await world.submit('sim:seconds=80000')
    await world.untilStatus(slow.id, 'CREATED')
    const next = await world.submit()
    world.advanceClock(61 * MINUTE)
    expect(await world.untilStatus(slow.id, 'FAILED')).toMatchObject({
      error: { code: 'TIMED_OUT' },
      cost: { amount: 0.8 },
    })
    await until(() => world.row(next.prompt).status === 'COMPLETED')
    expect(world.row(slow.prompt).tracking).toBe('expired')
  })

  test('is still looked at: a truth learned late corrects it, and the feed tells that', async () => {
    await using world = await openWorld({ env: { UPSTREAM_DEADLINE_MS: '60000' } })
    const feed = world.harness.subscribe('SSE', FEED)
    await take(feed, 1)
    const { id, prompt } = await world.submit('sim:seconds=300')
    await world.untilStatus(id, 'CREATED')
    world.advanceClock(2 * MINUTE)
    const finalEvents = await takeFinal(feed, 1)
    expect(finalEvents.at(-1)).toMatchObject({
      prediction: { id, status: 'FAILED', error: { code: 'TIMED_OUT' } },
    })
    world.gateway.simulator?.advance(10 * MINUTE)
    world.advanceClock(2 * MINUTE)
    const [corrected] = await takeFinal(feed, 1)
    expect(corrected).toMatchObject({
      previousStatus: 'FAILED',
      prediction: { id, status: 'COMPLETED', error: null, cost: { amount: 0.8 } },
    })
    expect(world.row(prompt).tracking).toBeNull()
  })

  test('is corrected once by what upstream says of its failure, with what that costs', async () => {
    await using world = await openWorld({ env: { UPSTREAM_DEADLINE_MS: '60000' } })
    const { id } = await world.submit('sim:seconds=300 sim:fail=1200')
    await world.untilStatus(id, 'CREATED')
    world.advanceClock(2 * MINUTE)
    await world.untilStatus(id, 'FAILED')
    world.gateway.simulator?.advance(10 * MINUTE)
    world.advanceClock(2 * MINUTE)
    await until(async () => (await world.read(id)).error.code === 'CONTENT_REJECTED')
    expect(await world.read(id)).toMatchObject({ status: 'FAILED', cost: { amount: 0 } })
  })

  test('that upstream has forgotten is looked at for seven days and no longer', async () => {
    await using world = await openWorld({
      env: { UPSTREAM_DEADLINE_MS: '60000' },
      fault: call => (isPoll(call) ? refusal(404) : null),
    })
    const { prompt } = await world.submit()
    await until(() => world.row(prompt).status === 'CREATED')
    world.advanceClock(2 * MINUTE)
    await until(() => world.row(prompt).status === 'FAILED')
    world.advanceClock(6 * DAY)
    await untilPolled(world)
    expect(world.row(prompt).tracking).toBe('expired')
    world.advanceClock(DAY)
    await until(() => world.row(prompt).tracking === null)
  })

  test('is given twice the time while upstream can not be read at all', async () => {
    let down = false
    await using world = await openWorld({
      env: { UPSTREAM_DEADLINE_MS: '600000' },
      fault: call => (down && isPoll(call) ? reply(503, '') : null),
    })
    const { id, prompt } = await world.submit('sim:seconds=3600')
    await world.untilStatus(id, 'CREATED')
    down = true
    world.advanceClock(11 * MINUTE)
    await untilPolled(world)
    await untilPolled(world)
    expect(world.row(prompt).status).toBe('CREATED')
    world.advanceClock(10 * MINUTE)
    expect(await world.untilStatus(id, ...FINAL_STATUSES)).toMatchObject({ error: { code: 'TIMED_OUT' } })
  })
})

test('while upstream can not be read at all, jobs past twice their deadline end without a look, and give up their places', async () => {
  let down = false
  await using world = await openWorld({
    env: { UPSTREAM_CONCURRENCY: '30', UPSTREAM_DEADLINE_MS: '600000' },
    fault: call => (down && !isSubmit(call) ? reply(200, '<html>') : null),
  })
  const jobs: { id: string; prompt: string }[] = []
  for (let n = 0; n < 30; n++) jobs.push(await world.submit('sim:seconds=36000'))
  for (const { id } of jobs) await world.untilStatus(id, 'CREATED')
  down = true
  await until(async () =>
    (await world.harness.fetch('/health/ready')).text().then(text => text.includes('failing')),
  )
  world.advanceClock(21 * MINUTE)
  await until(() => jobs.every(({ prompt }) => world.row(prompt).status === 'FAILED'), 20_000)
  for (const { prompt } of jobs)
    expect(world.row(prompt)).toMatchObject({ error: 'TIMED_OUT', tracking: 'expired' })
}, 30_000)

test('looks that bring nothing new are written down together', async () => {
  await using world = await openWorld()
  const { store } = world.gateway
  const { reschedule } = store
  const sizes: number[] = []
  store.reschedule = async looks => {
    sizes.push(looks.length)
    return reschedule(looks)
  }
  const jobs: { id: string; prompt: string }[] = []
  for (let n = 0; n < 30; n++) jobs.push(await world.submit('sim:seconds=600'))
  for (const { id } of jobs) await world.untilStatus(id, 'CREATED')
  await until(() => sizes.some(size => size > 3))
  await until(() => jobs.every(({ prompt }) => world.row(prompt).last_seen_running_at !== null))
})

test('a poll with news evaluates its transition once, a poll without news makes none', async () => {
  let isDown = false
  await using world = await openWorld({
    fault: call => (isDown && isPoll(call) ? reply(503, '') : null),
  })
  const { id, prompt } = await world.submit('sim:seconds=300')
  await world.untilStatus(id, 'CREATED')
  world.gateway.simulator?.advance(MINUTE)
  await world.untilStatus(id, 'PROCESSING')
  evaluations.length = 0
  await untilPolled(world)
  await untilPolled(world)
  isDown = true
  await untilPolled(world)
  isDown = false
  await untilPolled(world)
  expect(evaluations).toEqual([])
  world.advanceClock(61 * MINUTE)
  await until(() => world.row(prompt).status === 'FAILED')
  expect(evaluations).toEqual([{ count: 1 }])
})

test('what finished jobs took is learned, and outlives a restart', async () => {
  await using world = await openWorld()
  const jobs = []
  for (let n = 0; n < 5; n++) jobs.push(await world.submit('sim:seconds=0.5'))
  for (const { id } of jobs) await world.untilStatus(id, 'COMPLETED')
  await world.harness.restart()
  const spans = await world.store.recentDurations('WAN_2_2_I2V_PLUS_1080P', 100, MINUTE)
  expect(spans).toHaveLength(5)
  for (const { from, to } of spans) {
    expect(from).toBeGreaterThanOrEqual(0)
    expect(to).toBeGreaterThan(from)
    expect(to).toBeGreaterThan(400)
  }
})

describe('the breaker', () => {
  const at = (clock: { now: number }) => createPollCircuit(() => clock.now)

  test('opens after five failures in a row, and no sooner', () => {
    const breaker = at({ now: 0 })
    for (let n = 0; n < 4; n++) breaker.recordFailure(null)
    breaker.recordSuccess()
    for (let n = 0; n < 4; n++) breaker.recordFailure(null)
    expect([breaker.isOpen, breaker.limitPolls(100)]).toEqual([false, 100])
    breaker.recordFailure(null)
    expect([breaker.isOpen, breaker.limitPolls(100)]).toEqual([true, 0])
  })

  test('lets one look through at a time, each after twice the wait of the one before, up to a minute', () => {
    const clock = { now: 0 }
    const breaker = at(clock)
    for (let n = 0; n < 5; n++) breaker.recordFailure(null)
    const waits: number[] = []
    for (let n = 0; n < 9; n++) {
      const closed = clock.now
      while (breaker.limitPolls(100) === 0) clock.now += 100
      waits.push(clock.now - closed)
      expect(breaker.limitPolls(100)).toBe(1)
      breaker.recordStart()
      expect(breaker.limitPolls(100)).toBe(0)
      breaker.recordFailure(null)
    }
    expect(waits).toEqual([1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000])
  })

  test('what was under way when it opened is no further reason', () => {
    const clock = { now: 0 }
    const breaker = at(clock)
    for (let n = 0; n < 100; n++) breaker.recordFailure(null)
    clock.now = 1000
    expect(breaker.limitPolls(100)).toBe(1)
  })

  test('waits as long as upstream asks, at most a minute', () => {
    for (const [asked, waited] of [
      [30_000, 30_000],
      [3_600_000, 60_000],
    ] as const) {
      const clock = { now: 0 }
      const breaker = at(clock)
      for (let n = 0; n < 5; n++) breaker.recordFailure(asked)
      clock.now = waited - 1
      expect(breaker.limitPolls(1)).toBe(0)
      clock.now = waited
      expect(breaker.limitPolls(1)).toBe(1)
    }
  })

  test('one success closes it, and forgets the waits', () => {
    const clock = { now: 0 }
    const breaker = at(clock)
    for (let n = 0; n < 5; n++) breaker.recordFailure(null)
    clock.now = 1000
    breaker.recordStart()
    breaker.recordFailure(null)
    breaker.recordSuccess()
    expect(breaker.limitPolls(100)).toBe(100)
    for (let n = 0; n < 5; n++) breaker.recordFailure(null)
    clock.now = 2000
    expect(breaker.limitPolls(100)).toBe(1)
  })

  test('a look that never comes back does not hold it for ever', () => {
    const clock = { now: 0 }
    const breaker = at(clock)
    for (let n = 0; n < 5; n++) breaker.recordFailure(null)
    clock.now = 1000
    breaker.recordStart()
    clock.now += 60_000
    expect(breaker.limitPolls(100)).toBe(1)
  })
})

const FEED = `subscription { predictionFeed { __typename ... on PredictionEvent {
  previousStatus prediction { id status cost { amount } error { code } } } } }`
