import { describe, expect, test, vi } from 'vitest'
import type { Transition } from '../../src/domain/prediction.ts'
import { take, takeFinal } from '../support/gateway.ts'
import { until } from '../support/until.ts'
import {
  dataReply,
  FINAL_STATUSES,
  isPoll,
  isSubmit,
  openWorld,
  promptOf,
  refusal,
  reply,
  upstreamIdOf,
} from '../support/world.ts'

/** How often each transition that a poll made was evaluated. */
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
/** Waits until one more poll was answered and written. */
const untilPolled = async (world: World) => {
  const before = world.polls().length
  await until(() => world.polls().length > before)
}

describe('a job past its deadline', () => {
  test('fails with TIMED_OUT, keeps its price and frees its slot', async () => {
    await using world = await openWorld({ env: { UPSTREAM_CONCURRENCY: '1' } })
    const slow = await world.submit('sim:seconds=80000')
    await world.untilStatus(slow.id, 'CREATED')
    const next = await world.submit()
    world.advanceClock(61 * MINUTE)
    expect(await world.untilStatus(slow.id, 'FAILED')).toMatchObject({
      error: { code: 'TIMED_OUT' },
      cost: { amount: 0.8 },
    })
    await until(async () => (await world.job(next.prompt)).status === 'COMPLETED')
    expect((await world.job(slow.prompt)).tracking).toBe('expired')
  })

  test('is still polled: a late end corrects it, and the feed delivers the correction', async () => {
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
    expect((await world.job(prompt)).tracking).toBeNull()
  })

  test('is corrected once by the failure that upstream reports, with its cost', async () => {
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

  test('that upstream has deleted is polled for seven days and no longer', async () => {
    await using world = await openWorld({
      env: { UPSTREAM_DEADLINE_MS: '60000' },
      fault: call => (isPoll(call) ? refusal(404) : null),
    })
    const { prompt } = await world.submit()
    await until(async () => (await world.job(prompt)).status === 'CREATED')
    world.advanceClock(2 * MINUTE)
    await until(async () => (await world.job(prompt)).status === 'FAILED')
    world.advanceClock(6 * DAY)
    await untilPolled(world)
    expect((await world.job(prompt)).tracking).toBe('expired')
    world.advanceClock(DAY)
    await until(async () => (await world.job(prompt)).tracking === null)
  })

  test('gets twice the time while upstream cannot be read at all', async () => {
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
    expect((await world.job(prompt)).status).toBe('CREATED')
    world.advanceClock(10 * MINUTE)
    expect(await world.untilStatus(id, ...FINAL_STATUSES)).toMatchObject({ error: { code: 'TIMED_OUT' } })
  })
})

test.each<[title: string, interrupt: (world: World, hours: number) => Promise<void>]>([
  [
    'the gateway was down',
    async (world, hours) => {
      const { close } = world.gateway
      Object.assign(world.gateway, {
        async close() {
          await close()
          world.advanceClock(hours * 60 * MINUTE)
        },
      })
      await world.harness.restart()
    },
  ],
  ['the machine slept', async (world, hours) => world.sleep(hours * 60 * MINUTE)],
])(
  'after %s for longer than twice the deadline no job is declared before a look',
  async (_, interrupt) => {
    let down = false
    await using world = await openWorld({
      env: { UPSTREAM_CONCURRENCY: '30' },
      fault: call => (down && !isSubmit(call) ? reply(503, '') : null),
    })
    const feed = world.harness.subscribe('SSE', FEED)
    await take(feed, 1)
    const jobs: { id: string; prompt: string }[] = []
    for (let n = 0; n < 8; n++) jobs.push(await world.submit('sim:seconds=600'))
    for (const { id } of jobs) await world.untilStatus(id, 'CREATED', 'PROCESSING')
    // Upstream ends the jobs meanwhile. For a while it can't be read.
    down = true
    await interrupt(world, 3)
    world.gateway.simulator?.advance(10 * MINUTE)
    const before = world.polls().length
    await until(() => world.polls().length >= before + 6)
    const { findOverdueIds } = world.store
    for (const { prompt } of jobs)
      expect(await world.job(prompt)).toMatchObject({ error: null, tracking: 'active' })
    expect(await findOverdueIds(world.now() - 2 * 60 * MINUTE, 100)).toHaveLength(jobs.length)
    down = false
    for (const { id } of jobs)
      expect(await world.untilStatus(id, ...FINAL_STATUSES)).toMatchObject({
        status: 'COMPLETED',
        error: null,
      })
  },
  30_000,
)

test('while upstream cannot be read at all, jobs past twice their deadline end without a poll, and free their slots', async () => {
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
  for (const { prompt } of jobs)
    await until(async () => (await world.job(prompt)).status === 'FAILED', 20_000)
  for (const { prompt } of jobs)
    expect(await world.job(prompt)).toMatchObject({ error: 'TIMED_OUT', tracking: 'expired' })
}, 30_000)

test('a completed job whose outputs cannot be read is logged for its operator', async () => {
  const outputs: Record<string, unknown[]> = {
    path: ['/1.mp4'],
    none: [],
    some: ['https://videos.example/1.mp4', 'x'],
    fine: [' https://videos.example/1.mp4'],
  }
  await using world = await openWorld({
    fault(call) {
      if (isSubmit(call)) return dataReply({ id: promptOf(call).split(' ').at(-1), status: 'created' })
      return isPoll(call)
        ? dataReply({ id: upstreamIdOf(call), status: 'completed', outputs: outputs[upstreamIdOf(call)] })
        : null
    },
  })
  for (const name of Object.keys(outputs))
    await world.untilStatus((await world.submit(name)).id, ...FINAL_STATUSES)
  const warnings = world.log.filter(({ level }) => level === 'warn')
  expect(
    warnings.map(({ message, fields }) => [fields.error, fields.outputs, fields.unreadable, message]),
  ).toEqual([
    ['NO_OUTPUT', 0, 1, 'upstream calls the job completed, and not all of its outputs are web addresses'],
    ['NO_OUTPUT', 0, 0, 'upstream calls the job completed, and it has no outputs; it may have been charged'],
    [undefined, 1, 1, 'upstream calls the job completed, and not all of its outputs are web addresses'],
  ])
})

test('routine polls are written together', async () => {
  await using world = await openWorld()
  const { store } = world.gateway
  const { reschedule } = store
  const sizes: number[] = []
  store.reschedule = async polls => {
    sizes.push(polls.length)
    return reschedule(polls)
  }
  const jobs: { id: string; prompt: string }[] = []
  for (let n = 0; n < 30; n++) jobs.push(await world.submit('sim:seconds=600'))
  for (const { id } of jobs) await world.untilStatus(id, 'CREATED')
  await until(() => sizes.some(size => size > 3))
  for (const { prompt } of jobs) await until(async () => (await world.job(prompt)).lastSeenRunningAt !== null)
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
  await until(async () => (await world.job(prompt)).status === 'FAILED')
  expect(evaluations).toEqual([{ count: 1 }])
})

test('durations of finished jobs are stored, and survive a restart', async () => {
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

const FEED = `subscription { predictionFeed { __typename ... on PredictionEvent {
  previousStatus prediction { id status cost { amount } error { code } } } } }`
