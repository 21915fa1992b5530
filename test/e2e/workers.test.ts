import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import type { Job } from '../../src/domain/prediction.ts'
import { createLog } from '../../src/observability/log.ts'
import { createSimulator, type Fault } from '../../src/simulator/simulator.ts'
import { openStore } from '../../src/store/open-store.ts'
import { queryDatabaseFile } from '../support/database-file.ts'
import { allJobs, jobOf } from '../support/store.ts'
import { until } from '../support/until.ts'
import {
  dataReply,
  FINAL_STATUSES,
  isPoll,
  isProbe,
  isSubmit,
  LEAK_MARKER,
  logLines,
  openWorld,
  promptOf,
  refusal,
  reply,
  type TimedCall,
  upstreamIdOf,
} from '../support/world.ts'

const MINUTE = 60_000
describe('the account’s limits', () => {
  test('no more jobs are in flight than UPSTREAM_CONCURRENCY, at any moment', async () => {
    let simulatedAhead = 0
    const inFlight: number[] = []
    await using world = await openWorld({
      env: { UPSTREAM_CONCURRENCY: '2' },
      fault(call) {
        if (!isSubmit(call)) return null
        const jobs = queryDatabaseFile(join(world.harness.folder, 'simulator.db'), db =>
          db.prepare('select job from jobs').all(),
        )
        const running = jobs.filter(row => {
          const { createdAt, plan } = JSON.parse((row as { job: string }).job)
          return createdAt + plan.totalMs > Date.now() + simulatedAhead
        })
        inFlight.push(running.length + 1)
        return null
      },
    })
    const jobs = []
    for (let n = 0; n < 5; n++) jobs.push(await world.submit('sim:seconds=60'))
    const next = async (count: number) => {
      await until(() => world.submits().length === count)
      await world.untilSubmitterClaimed()
      expect(await world.submitAttemptCount()).toBe(count)
      world.gateway.simulator?.advance(61_000)
      simulatedAhead += 61_000
    }
    for (const count of [2, 4, 5]) await next(count)
    for (const { id } of jobs) await world.untilStatus(id, 'COMPLETED')
    expect(inFlight).toEqual([1, 2, 1, 2, 1])
    expect(world.submittedPrompts()).toEqual(jobs.map(job => job.prompt))
  })

  /** The shortest time that any `count` + 1 submits in a row took. */
  const minSpanMs = (submits: TimedCall[], count: number) =>
    Math.min(...submits.slice(count).map((call, i) => call.at - submits[i]!.at))

  test('no more submits go out than UPSTREAM_SUBMITS_PER_MINUTE, in any minute', async () => {
    await using world = await openWorld({ env: { UPSTREAM_SUBMITS_PER_MINUTE: '2' } })
    const jobs = []
    for (let n = 0; n < 5; n++) jobs.push(await world.submit())
    for (const count of [2, 4]) {
      await until(() => world.submits().length === count)
      world.advanceClock(50_000)
      await world.untilSubmitterClaimed()
      expect(await world.submitAttemptCount()).toBe(count)
      world.advanceClock(10_500)
    }
    for (const { id } of jobs) await world.untilStatus(id, 'COMPLETED')
    expect(world.submits()).toHaveLength(5)
    // A call arrives some milliseconds after it was started.
    expect(minSpanMs(world.submits(), 2)).toBeGreaterThan(MINUTE - 500)
  })

  test('a throttled submit that is sent again counts twice in its minute', async () => {
    let throttles = 1
    await using world = await openWorld({
      env: { UPSTREAM_SUBMITS_PER_MINUTE: '2' },
      fault: call => (isSubmit(call) && throttles-- > 0 ? reply(429, '{}', { 'retry-after': '1' }) : null),
    })
    const first = await world.submit()
    await world.untilCircuitOpen()
    await world.untilStatus(first.id, 'COMPLETED')
    const second = await world.submit()
    await world.untilSubmitterClaimed()
    expect(await world.submitAttemptCount()).toBe(2)
    world.advanceClock(MINUTE)
    await world.untilStatus(second.id, 'COMPLETED')
    expect(minSpanMs(world.submits(), 2)).toBeGreaterThan(MINUTE - 500)
  })
})

test('another process sees a job as begun before its POST', async () => {
  await using world = await openWorld()
  const otherProcess = await openStore(world.harness.databaseUrl, () => {})
  const { claimSubmits } = world.store
  const seen: Job[] = []
  world.store.claimSubmits = async claim => {
    const jobs = await claimSubmits(claim)
    for (const { id } of jobs) seen.push(await jobOf(otherProcess, id))
    expect(world.submits().length).toBe(seen.length - jobs.length)
    return jobs
  }
  const before = world.now()
  for (let n = 0; n < 3; n++) await world.untilStatus((await world.submit()).id, 'COMPLETED')
  await otherProcess.close()
  expect(seen).toHaveLength(3)
  for (const job of seen) {
    expect(job).toMatchObject({ status: 'QUEUED', submission: 'begun', submitAttempts: 1 })
    expect(job.submitStartedAt).toBeGreaterThanOrEqual(before)
  }
})

test('a submit whose outcome stays unknown ends its job after a while, is never sent again, and stops all others until a read succeeds', async () => {
  let down = false
  await using world = await openWorld({
    env: { UPSTREAM_CONCURRENCY: '1', UPSTREAM_UNKNOWN_MS: '1000' },
    fault(call) {
      if (isSubmit(call) && world.submits().length === 1) {
        down = true
        return { cut: 'before' }
      }
      return down ? reply(503, '<html>') : null
    },
  })
  const lost = await world.submit()
  const others = [await world.submit(), await world.submit()]
  expect(await world.untilCircuitOpen()).toMatchObject({ reason: 'unknown' })
  expect(await world.read(lost.id)).toMatchObject({ status: 'QUEUED', queuePosition: null, error: null })
  world.advanceClock(3 * MINUTE)
  const ended = await world.untilStatus(lost.id, ...FINAL_STATUSES)
  expect(ended).toMatchObject({
    status: 'FAILED',
    error: { code: 'SUBMISSION_UNKNOWN', retryable: false },
    cost: { amount: 0.8 },
    upstreamId: null,
    queuePosition: null,
  })
  expect([ended.submittedAt, ended.finishedAt]).not.toContain(null)

  await until(() => world.probes().length >= 1)
  await world.nextClaimedProbe()
  await world.untilSubmitterClaimed()
  expect(await world.submitAttemptCount()).toBe(1)
  expect(await world.read(others[0]!.id)).toMatchObject({ status: 'QUEUED', queuePosition: 1 })

  down = false
  world.advanceClock(MINUTE)
  for (const { id } of others) await world.untilStatus(id, 'COMPLETED')
  expect(world.submittedPrompts()).toEqual([lost, ...others].map(job => job.prompt))
  expect(await world.read(lost.id)).toEqual(ended)
  const between = world.calls.slice(
    1,
    world.calls.findIndex((c, i) => i > 0 && isSubmit(c)),
  )
  expect(between.length).toBeGreaterThanOrEqual(2)
  expect(between.every(isProbe)).toBe(true)
})

test('an upstream that refuses connections leaves every job queued, and the queue continues when it is back', async () => {
  const key = 'a-key'
  const stopped = await createSimulator({ file: ':memory:', key })
  await stopped.close()
  await using world = await openWorld({
    env: {
      WAVESPEED_API_KEY: key,
      WAVESPEED_BASE_URL: stopped.origin,
      UPSTREAM_SUBMITS_PER_MINUTE: '1000',
    },
  })
  const jobs = [await world.submit(), await world.submit(), await world.submit()]
  expect(await world.untilCircuitOpen()).toMatchObject({ reason: 'unreachable' })
  await world.untilSubmitterClaimed()
  const waiting = await Promise.all(jobs.map(job => world.read(job.id)))
  expect(waiting.map(({ status, queuePosition }) => [status, queuePosition])).toEqual([
    ['QUEUED', 1],
    ['QUEUED', 2],
    ['QUEUED', 3],
  ])

  const restarted = await createSimulator({
    file: ':memory:',
    key,
    port: Number(new URL(stopped.origin).port),
  })
  try {
    for (const { id } of jobs) await world.untilStatus(id, 'COMPLETED')
    expect(restarted.calls.filter(isSubmit).map(promptOf).sort()).toEqual(jobs.map(job => job.prompt))
  } finally {
    await restarted.close()
  }
})

test('submits that an unreachable upstream never received do not count towards the rate', async () => {
  const key = 'a-key'
  const stopped = await createSimulator({ file: ':memory:', key })
  await stopped.close()
  await using world = await openWorld({
    env: { WAVESPEED_API_KEY: key, WAVESPEED_BASE_URL: stopped.origin, UPSTREAM_SUBMITS_PER_MINUTE: '2' },
  })
  const jobs = await world.withoutSubmitter(async () => [await world.submit(), await world.submit()])
  await world.untilCircuitOpen()
  const restarted = await createSimulator({
    file: ':memory:',
    key,
    port: Number(new URL(stopped.origin).port),
  })
  try {
    await world.untilCircuitClosed()
    for (const { id } of jobs) await world.untilStatus(id, 'COMPLETED')
  } finally {
    await restarted.close()
  }
})

describe('account trouble', () => {
  test.each<[title: string, fault: Fault]>([
    ['401', refusal(401)],
    ['402', refusal(402)],
    ['403', refusal(403)],
    ['code 1407', refusal(200, 1407)],
    ['a message of insufficient credit', refusal(400, 400, 'Insufficient credits')],
  ])(
    'reported by %s keeps the jobs queued and opens the submit circuit until upstream can be read',
    async (_, fault) => {
      let hasTrouble = true
      await using world = await openWorld({
        env: { UPSTREAM_CONCURRENCY: '1' },
        fault: () => (hasTrouble ? fault : null),
      })
      const jobs = [await world.submit(), await world.submit()]
      expect(await world.untilCircuitOpen()).toMatchObject({ reason: 'account' })
      world.advanceClock(50_000)
      expect(await world.nextClaimedProbe()).toBeNull()
      await world.untilSubmitterClaimed()
      expect(world.calls).toHaveLength(1)
      for (const { id } of jobs)
        expect(await world.read(id)).toMatchObject({ status: 'QUEUED', error: null, cost: { amount: 0.8 } })
      expect((await world.read(jobs[0]!.id)).queuePosition).toBe(1)
      expect(world.log.filter(line => /operator/.test(line.message))).toHaveLength(1)

      world.advanceClock(15_000)
      // The list, and if that is refused the balance.
      await until(() => world.probes().length === 2)
      await world.untilSubmitterClaimed()
      expect(await world.submitAttemptCount()).toBe(1)

      hasTrouble = false
      world.advanceClock(2 * MINUTE)
      for (const { id } of jobs) await world.untilStatus(id, 'COMPLETED')
      // The other job is the probe: a refused job must not be every probe.
      expect(world.submittedPrompts()).toEqual([jobs[0], jobs[1], jobs[0]].map(job => job?.prompt))
    },
  )
})

test.each<[title: string, headers: Record<string, string>, before: number, after: number]>([
  ['Retry-After', { 'retry-after': '30' }, 20_000, 15_000],
  ['no Retry-After', {}, 50_000, 15_000],
])(
  '429 with %s opens the submit circuit, and the queue continues when it closes',
  async (_, headers, before, after) => {
    let throttles = 1
    await using world = await openWorld({
      env: { UPSTREAM_CONCURRENCY: '1' },
      fault: call =>
        isSubmit(call) && throttles-- > 0 ? reply(429, JSON.stringify({ code: 429 }), headers) : null,
    })
    const jobs = [await world.submit(), await world.submit()]
    expect(await world.untilCircuitOpen()).toMatchObject({ reason: 'throttled' })
    world.advanceClock(before)
    expect(await world.nextClaimedProbe()).toBeNull()
    await world.untilSubmitterClaimed()
    expect(world.calls).toHaveLength(1)
    expect(await world.read(jobs[0]!.id)).toMatchObject({ status: 'QUEUED', error: null, queuePosition: 1 })
    world.advanceClock(after)
    for (const { id } of jobs) await world.untilStatus(id, 'COMPLETED')
    // The other job is the probe: a refused job must not be every probe.
    expect(world.submittedPrompts()).toEqual([jobs[0], jobs[1], jobs[0]].map(job => job?.prompt))
  },
)

test('an input that upstream rejects fails with INVALID_INPUT, costs nothing, and stops no other job', async () => {
  const faults = [refusal(400), refusal(422), refusal(200, 400)]
  const answers = [...faults]
  await using world = await openWorld({
    env: { UPSTREAM_CONCURRENCY: '1' },
    fault: call => (isSubmit(call) ? (answers.shift() ?? null) : null),
  })
  const jobs = []
  for (const _ of faults) jobs.push(await world.submit())
  const other = await world.submit()
  for (const { id } of jobs) {
    const ended = await world.untilStatus(id, ...FINAL_STATUSES)
    expect(ended).toMatchObject({
      status: 'FAILED',
      error: { code: 'INVALID_INPUT', retryable: false },
      cost: { amount: 0 },
      upstreamId: null,
    })
    expect(JSON.stringify(ended)).not.toContain(LEAK_MARKER)
  }
  await world.untilStatus(other.id, 'COMPLETED')
  expect(world.submittedPrompts()).toEqual([...jobs, other].map(job => job.prompt))
  expect(world.probes()).toEqual([])
})

test('each end of a job reaches the app as the contract says, without any upstream text', async () => {
  const ENDS: [words: string, status: string, code?: string, retryable?: boolean, cost?: number][] = [
    ['sim:fail=1200', 'FAILED', 'CONTENT_REJECTED', false, 0],
    ['sim:fail=1400', 'FAILED', 'INVALID_INPUT', false, 0],
    ['sim:fail=1401', 'FAILED', 'INVALID_INPUT', false, 0],
    ['sim:fail=1402', 'FAILED', 'IMAGE_UNREACHABLE', false, 0],
    ['sim:fail=1403', 'FAILED', 'GENERATION_FAILED', true, 0],
    ['sim:fail=1405', 'FAILED', 'GENERATION_FAILED', true, 0],
    ['sim:fail=1406', 'FAILED', 'GENERATION_FAILED', true, 0],
    ['sim:fail=1407', 'FAILED', 'GENERATION_FAILED', true, 0],
    ['sim:fail=7777', 'FAILED', 'GENERATION_FAILED', true, 0],
    ['sim:end=failed', 'FAILED', 'GENERATION_FAILED', true, 0],
    ['sim:fail=5000', 'FAILED', 'UPSTREAM_UNAVAILABLE', true, 0],
    ['sim:fail=5003', 'FAILED', 'UPSTREAM_UNAVAILABLE', true, 0],
    ['sim:fail=5004', 'FAILED', 'TIMED_OUT', true, 0.8],
    ['sim:end=timeout', 'FAILED', 'TIMED_OUT', true, 0.8],
    ['sim:end=cancelled', 'CANCELED'],
    ['sim:end=canceled', 'CANCELED'],
    ['sim:end=deleted', 'CANCELED'],
    ['sim:end=completed', 'COMPLETED'],
  ]
  await using world = await openWorld()
  const jobs = await Promise.all(ENDS.map(([words]) => world.submit(`sim:seconds=0 ${words}`)))
  const outcomes = []
  for (const { id } of jobs) outcomes.push(await world.untilStatus(id, ...FINAL_STATUSES))
  expect(
    outcomes.map(({ status, error, cost }) =>
      status === 'FAILED' ? [status, error.code, error.retryable, cost.amount] : [status],
    ),
  ).toEqual(ENDS.map(([, ...end]) => end))
  expect(outcomes.every(({ error }) => error === null || error.message.length > 10)).toBe(true)
  for (const text of [JSON.stringify(outcomes), JSON.stringify(world.log)])
    expect(text).not.toContain('simulated failure')
})

test('no failed poll and no unknown status decides a job', async () => {
  const failed = (id: string) => ({ id, status: 'failed', code: 1200, error: LEAK_MARKER })
  const WRONG: ((id: string) => Fault)[] = [
    () => refusal(404),
    () => refusal(400),
    () => refusal(401),
    () => refusal(429),
    () => refusal(500),
    () => refusal(200, 404),
    id => reply(503, JSON.stringify({ code: 200, data: failed(id) })),
    () => reply(502, '<html>'),
    () => reply(200, `<html>${LEAK_MARKER}</html>`),
    id => reply(200, JSON.stringify({ code: 200, data: failed(id) }).slice(0, -1)),
    () => dataReply(failed('f'.repeat(32))),
    () => ({ cut: 'before' }),
    id => dataReply({ ...failed(id), status: 'sparkling', outputs: ['https://images.example/1.mp4'] }),
    id => dataReply({ ...failed(id), status: null }),
    id => dataReply({ ...failed(id), status: 'pending' }),
    id => dataReply({ ...failed(id), status: 'Queued' }),
    id => dataReply({ ...failed(id), status: 'IN_PROGRESS' }),
  ]
  const TIMES = 3
  const met = new Map<string, { wrong: (id: string) => Fault; times: number }>()
  await using world = await openWorld({
    fault(call) {
      if (!isPoll(call)) return null
      const id = upstreamIdOf(call)
      const job = met.get(id) ?? { wrong: WRONG[met.size]!, times: 0 }
      met.set(id, job)
      return job.times++ < TIMES ? job.wrong(id) : null
    },
  })
  // The jobs run one after the other, since so many failures at once would open the poll circuit.
  for (const _ of WRONG) {
    const { id } = await world.submit()
    expect(await world.untilStatus(id, ...FINAL_STATUSES)).toMatchObject({ status: 'COMPLETED' })
  }
  expect(met.size).toBe(WRONG.length)
  for (const { times } of met.values()) expect(times).toBe(TIMES + 1)
  expect(world.submits()).toHaveLength(WRONG.length)
}, 60_000)

describe('a job that completed without outputs', () => {
  test('is polled once more, then fails with NO_OUTPUT', async () => {
    await using world = await openWorld()
    const { id } = await world.submit('sim:seconds=0 sim:empty')
    expect(await world.untilStatus(id, ...FINAL_STATUSES)).toMatchObject({
      status: 'FAILED',
      error: { code: 'NO_OUTPUT', retryable: true },
      cost: { amount: 0.8 },
      outputs: [],
    })
    expect(world.polls().length).toBeGreaterThanOrEqual(2)
  })

  test('is COMPLETED if one more poll finds them, even after a failed poll', async () => {
    const empty = [null, undefined, [], [null]].map(outputs => (id: string) => ({
      id,
      status: 'completed',
      outputs,
    }))
    const met = new Map<string, number>()
    await using world = await openWorld({
      fault(call) {
        if (!isPoll(call)) return null
        const id = upstreamIdOf(call)
        const polls = met.get(id) ?? 0
        const nth = [...met.keys()].indexOf(id)
        met.set(id, polls + 1)
        if (polls === 0) return dataReply(empty[(nth + empty.length) % empty.length]!(id))
        return polls === 1 ? reply(503, '') : null
      },
    })
    const jobs = await Promise.all(empty.map(() => world.submit()))
    for (const { id } of jobs) {
      const ended = await world.untilStatus(id, ...FINAL_STATUSES)
      expect([ended.status, ended.outputs.length]).toEqual(['COMPLETED', 1])
    }
    expect([...met.values()]).toEqual(empty.map(() => 3))
  })
})

test('jobs in flight are tracked after a restart, and not sent again', async () => {
  await using world = await openWorld()
  const jobs = [await world.submit('sim:seconds=60'), await world.submit('sim:seconds=60')]
  for (const { id } of jobs) await world.untilStatus(id, 'CREATED')
  await world.harness.restart()
  for (const { id } of jobs) expect((await world.read(id)).status).toBe('CREATED')
  world.gateway.simulator?.advance(61_000)
  for (const { id } of jobs) await world.untilStatus(id, 'COMPLETED')
  expect(world.submittedPrompts().sort()).toEqual(jobs.map(job => job.prompt))
})

test('queued jobs are sent after a restart, and an open submit circuit survives it', async () => {
  let throttled = true
  await using world = await openWorld({
    env: { UPSTREAM_CONCURRENCY: '1' },
    fault: call => (isSubmit(call) && throttled ? reply(429, '', { 'retry-after': '30' }) : null),
  })
  const jobs = [await world.submit(), await world.submit()]
  await world.untilCircuitOpen()
  throttled = false
  await world.harness.restart()
  await world.untilSubmitterClaimed()
  expect(world.calls).toHaveLength(1)
  world.advanceClock(31_000)
  for (const { id } of jobs) await world.untilStatus(id, 'COMPLETED')
})

test('a POST without an answer at a stop is resolved after the next start, before anything else is sent, and not sent again', async () => {
  let stalls = true
  await using world = await openWorld({
    env: { UPSTREAM_CONCURRENCY: '2', UPSTREAM_UNKNOWN_MS: '1000' },
    fault: call => (stalls && isSubmit(call) ? { stall: 'after' } : null),
  })
  const left = [await world.submit(), await world.submit()]
  const other = await world.submit()
  await until(() => world.submits().length === 2)
  expect(await world.read(left[0]!.id)).toMatchObject({ status: 'QUEUED', queuePosition: null })
  expect(await world.read(other.id)).toMatchObject({ status: 'QUEUED', queuePosition: 1 })

  const stop = Date.now()
  await world.gateway.close()
  expect(Date.now() - stop).toBeLessThan(5000)
  const nextProcess = await openStore(world.harness.databaseUrl, () => {})
  const jobs = await allJobs(nextProcess)
  await nextProcess.close()
  for (const { prompt } of left)
    expect(jobs.find(({ input }) => input.prompt === prompt)).toMatchObject({
      submission: 'begun',
      submitAttempts: 1,
    })
  stalls = false
  await world.harness.restart()
  for (const { prompt } of left) await until(async () => (await world.job(prompt)).submission === 'unknown')
  world.advanceClock(3 * MINUTE)
  for (const { id, prompt } of left) {
    const ended = await world.untilStatus(id, ...FINAL_STATUSES)
    expect(ended).toMatchObject({ status: 'FAILED', error: { code: 'SUBMISSION_UNKNOWN' } })
    expect(await world.job(prompt)).toMatchObject({ submission: 'unknown', submitAttempts: 1 })
  }
  await world.untilStatus(other.id, 'COMPLETED')
  expect(world.submittedPrompts()).toEqual([...left, other].map(job => job.prompt))
  // A read let the others go, not the restart.
  const last = world.calls.findLastIndex(isSubmit)
  expect(world.calls.slice(2, last).some(isProbe)).toBe(true)
})

describe('a job is polled', () => {
  test('no more often than POLL_MIN_INTERVAL_MS, and however old no less often than POLL_MAX_INTERVAL_MS', async () => {
    const pollTimes: number[] = []
    await using world = await openWorld({
      env: { POLL_MIN_INTERVAL_MS: '300', POLL_MAX_INTERVAL_MS: '400' },
      fault(call) {
        if (!isProbe(call)) pollTimes.push(Date.now())
        return null
      },
    })
    await world.submit('sim:seconds=7200')
    await until(() => pollTimes.length >= 4)
    world.advanceClock(30 * MINUTE)
    await until(() => pollTimes.length >= 8)
    // The jump of the clock makes one poll due.
    const gaps = pollTimes
      .slice(1)
      .map((at, i) => at - pollTimes[i]!)
      .toSpliced(3, 1)
    for (const gap of gaps) {
      expect(gap).toBeGreaterThan(270)
      expect(gap).toBeLessThan(2000)
    }
  })

  test('not before the time that upstream sent', async () => {
    let throttles = 1
    await using world = await openWorld({
      fault: call =>
        isPoll(call) && throttles-- > 0
          ? reply(429, JSON.stringify({ code: 429 }), { 'retry-after': '50' })
          : null,
    })
    const { id, prompt } = await world.submit()
    await until(async () => {
      const { submission, dueAt } = await world.job(prompt)
      return submission === 'accepted' && dueAt > world.now() + 40_000
    })
    world.advanceClock(51_000)
    await world.untilStatus(id, 'COMPLETED')
    expect(world.polls()).toHaveLength(2)
  })
})

test('no line of any log has a prompt, an image URL, a key or a word of upstream', async () => {
  let written = ''
  const sink = {
    isTTY: false,
    write(text: string) {
      written += text
    },
  }
  const log = await createLog('trace', sink as unknown as typeof process.stderr)
  for (const { fields, message } of logLines) log.info(fields, message)
  expect(written.split('\n').length).toBe(logLines.length + 1)
  for (const message of ['submitted', 'finished', 'submit circuit', 'outcome is unknown', 'will retry'])
    expect(written).toContain(message)
  for (const secret of [
    LEAK_MARKER,
    'images.example',
    'sim:',
    'Bearer',
    'a-key',
    'rsh_',
    'Insufficient',
    '<html>',
  ])
    expect(written).not.toContain(secret)
})

test('an outage of submits alone costs one job per probe, each later than the one before', async () => {
  await using world = await openWorld({
    fault: call => (isSubmit(call) ? reply(500, 'oops') : null),
  })
  await world.submit()
  await world.untilCircuitOpen()
  await world.withoutSubmitter(async () => {
    for (let i = 0; i < 20; i++) await world.submit()
  })
  // Two minutes of the gateway's own time, in which all reads succeed.
  const end = world.now() + 2 * MINUTE
  while (world.now() < end) {
    world.advanceClock(1000)
    await world.untilSubmitterClaimed(1)
  }
  const moments = world.submits().map(call => call.at)
  expect(moments.length).toBeGreaterThan(4)
  // The next job is a probe at once; each failed probe doubles the wait.
  for (const [i, at] of moments.entries())
    if (i > 1) expect(at - moments[i - 1]!).toBeGreaterThanOrEqual(2 ** (i - 1) * 1000)
})

test('an answer that could not be written is written once the database works again', async () => {
  await using world = await openWorld()
  const { store } = world.gateway
  const { change } = store
  let refusals = 3
  store.change = async (...args) => {
    if (world.submits().length > 0 && refusals-- > 0) throw new Error('SQLITE_FULL')
    return change(...args)
  }
  const { id } = await world.submit()
  await world.untilStatus(id, 'COMPLETED')
  expect(world.submits()).toHaveLength(1)
  const kept = world.log.filter(line => line.message.includes('cannot be written'))
  expect(kept.map(line => line.fields.upstreamId)).toEqual(Array(3).fill(expect.stringMatching(/^\w{32}$/)))
})

test("an id that upstream assigns twice never shows one app the other's video", async () => {
  const twice = JSON.stringify({ code: 200, message: 'success', data: { id: 'same', status: 'created' } })
  await using world = await openWorld({
    env: { UPSTREAM_UNKNOWN_MS: '1000' },
    fault: call => (isSubmit(call) ? reply(200, twice) : null),
  })
  const first = await world.submit()
  await world.untilStatus(first.id, 'CREATED')
  const second = await world.submit()
  await until(async () => (await world.job(second.prompt)).submission === 'unknown')
  world.advanceClock(3 * MINUTE)
  expect(await world.untilStatus(second.id, ...FINAL_STATUSES)).toMatchObject({
    status: 'FAILED',
    upstreamId: null,
    error: { code: 'SUBMISSION_UNKNOWN' },
  })
})

test('a job that upstream always refuses as account trouble holds no other job back', async () => {
  await using world = await openWorld({
    env: { UPSTREAM_CONCURRENCY: '1' },
    fault: call => (isSubmit(call) && promptOf(call).includes('poison') ? refusal(403) : null),
  })
  const poison = await world.submit('poison')
  const others = [await world.submit(), await world.submit()]
  for (const { id } of others) {
    await until(async () => {
      world.advanceClock(5000)
      return (await world.read(id)).status === 'COMPLETED'
    })
  }
  expect(await world.read(poison.id)).toMatchObject({ status: 'QUEUED' })
})

test("a late answer to an earlier POST does not close the circuit before the probe's own", async () => {
  let broken = false
  const pending: (() => void)[] = []
  await using world = await openWorld({
    env: { UPSTREAM_CONCURRENCY: '20' },
    fault: call => (isSubmit(call) && broken ? reply(502, 'oops') : null),
  })
  const { store } = world.gateway
  const { findIdByUpstreamId } = store
  // The first answer has arrived and is held up on its way to the row.
  store.findIdByUpstreamId = async (id: string) => {
    await new Promise<void>(resolve => pending.push(resolve))
    return findIdByUpstreamId(id)
  }
  const early = await world.submit()
  await until(() => pending.length === 1)
  broken = true
  await world.submit()
  await world.untilCircuitOpen()
  await world.withoutSubmitter(async () => {
    for (let i = 0; i < 10; i++) await world.submit()
  })
  await until(async () => (await store.submitCircuit())?.halfOpen)
  pending[0]?.()
  await world.untilStatus(early.id, 'CREATED', 'PROCESSING', 'COMPLETED')
  await world.untilSubmitterClaimed(3)
  expect(world.submits().length).toBeLessThanOrEqual(4)
})
