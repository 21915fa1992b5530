import { expect, test } from 'vitest'
import { decodeId } from '../../src/graphql/global-id.ts'
import { type Call, createSimulator, type Fault } from '../../src/simulator/simulator.ts'
import { sideBySide } from '../support/side-by-side.ts'
import { until } from '../support/until.ts'
import {
  envelope,
  FINAL,
  isLook,
  isSubmit,
  MARK,
  open as openWorld,
  promptOf,
  refuses,
  says,
  shows,
  type WorldOptions,
} from '../support/world.ts'

const SECOND = 1000
const MINUTE = 60 * SECOND
const ID = '45b392b22c3b449fa935bd4dc2219dfe'
const VIDEO = 'https://videos.example/1.mp4'
const PAUSES = ['unknown', 'unreachable', 'account', 'throttled']

const FEED = `subscription ($after: String) {
  predictionFeed(after: $after) { ... on PredictionEvent { prediction { id status } } }
}`

/** A world, with what a scraper and a load balancer are told of it. */
async function open(options?: WorldOptions) {
  const world = await openWorld(options)
  const { harness, store } = world
  const metrics = async () => (await harness.fetch('/metrics')).text()
  return Object.assign(world, {
    ready: async () => {
      const response = await harness.fetch('/health/ready')
      expect(response.status).toBe(200)
      return (await response.json()) as Record<string, unknown>
    },
    /** Of submits. */
    async said() {
      const pause = await store.paused()
      const scraped = await metrics()
      const { submits } = (await (await harness.fetch('/health/ready')).json()) as { submits: object }
      const held = PAUSES.filter(reason =>
        scraped.includes(`rushes_submit_circuit_open{reason="${reason}"} 1\n`),
      )
      const free = PAUSES.filter(reason =>
        scraped.includes(`rushes_submit_circuit_open{reason="${reason}"} 0\n`),
      )
      expect(held.length + free.length).toBe(PAUSES.length)
      return { pause: pause?.reason ?? null, submits, metrics: held }
    },
    gauge: async (name: string) => Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(await metrics())?.[1]),
  })
}

const HTML = `<html>${MARK}</html>`

/** What of a prediction the tables speak of. */
interface Read {
  status: string
  error: { code: string; retryable: boolean } | null
  cost: { amount: number }
  queuePosition: number | null
  upstreamId: string | null
}
const essence = ({ status, error, cost, queuePosition, upstreamId }: Read) => ({
  status,
  error: error?.code ?? null,
  retryable: error?.retryable ?? null,
  cost: cost.amount,
  queuePosition,
  isKnownUpstream: upstreamId !== null,
})
type Essence = ReturnType<typeof essence>

const essenceOf = (status: string, over: object = {}) => ({
  status,
  error: null,
  retryable: null,
  cost: 0.8,
  queuePosition: null,
  isKnownUpstream: false,
  ...over,
})
const COMPLETED = essenceOf('COMPLETED', { isKnownUpstream: true })
const WAITS = essenceOf('QUEUED', { queuePosition: 1 })

interface Meaning {
  /** While submits are paused for it; null where they are not. */
  paused: { reason: string; prediction: object; untilMs: number | null } | null
  /** With all mended. */
  end: object
  /** POSTs of it, over all. */
  posts: number
}

const pauses = (reason: string, untilMs: number | null, prediction: object = WAITS) => ({
  reason,
  untilMs,
  prediction,
})
const SENT_AGAIN = { end: COMPLETED, posts: 2 }
/** Never sent again. */
const LOST: Meaning = {
  paused: pauses('unknown', null, essenceOf('QUEUED')),
  end: essenceOf('FAILED', { error: 'SUBMISSION_UNKNOWN', retryable: false }),
  posts: 1,
}
const MONEY = {
  accepted: { paused: null, end: COMPLETED, posts: 1 },
  'refused for its input': {
    paused: null,
    end: essenceOf('FAILED', { error: 'INVALID_INPUT', retryable: false, cost: 0 }),
    posts: 1,
  },
  'not sent': { paused: pauses('unreachable', SECOND), ...SENT_AGAIN },
  'trouble of the account': { paused: pauses('account', MINUTE), ...SENT_AGAIN },
  'too many': { paused: pauses('throttled', MINUTE), ...SENT_AGAIN },
  'too many for thirty seconds': { paused: pauses('throttled', 30 * SECOND), ...SENT_AGAIN },
  unknown: LOST,
  'unknown, and found in the list': { ...LOST, end: COMPLETED },
} as const satisfies Record<string, Meaning>

type Answer = Fault | 'nobody listens' | null
const ANSWERS: Record<keyof typeof MONEY, Record<string, Answer>> = {
  accepted: {
    'HTTP 200, code 200 and an id': null,
    'HTTP 201, code 200 and an id': says(201, envelope(200, { id: ID, status: 'created' })),
    'an id and nothing else': says(200, envelope(200, { id: ID })),
  },
  'refused for its input': {
    400: refuses(400),
    404: refuses(404),
    422: refuses(422),
    '422 with HTML': says(422, HTML),
    'code 400 on HTTP 200': refuses(200, 400),
    'code 404 on HTTP 200': refuses(200, 404),
  },
  'not sent': { 'a refused connection': 'nobody listens' },
  'trouble of the account': {
    401: refuses(401),
    402: refuses(402),
    403: refuses(403),
    '403 with HTML': says(403, HTML),
    'code 401 on HTTP 200': refuses(200, 401),
    'code 1407 on HTTP 200': refuses(200, 1407),
    'code 1407 on HTTP 400': refuses(400, 1407),
    'code 1407 on HTTP 429': refuses(429, 1407),
    'words of insufficient credit on HTTP 400': refuses(400, 400, `Insufficient credits, ${MARK}`),
    'words of insufficient credit on HTTP 200': refuses(200, 400, `insufficient balance, ${MARK}`),
  },
  'too many': {
    '429 without Retry-After': refuses(429),
    '429 with a Retry-After that is none': says(429, envelope(429), { 'retry-after': 'soon' }),
    'code 429 on HTTP 200': refuses(200, 429),
  },
  'too many for thirty seconds': {
    '429 with Retry-After': says(429, envelope(429), { 'retry-after': '30' }),
  },
  unknown: {
    'a reset before it took effect': { cut: 'before' },
    'no answer in time, before it took effect': { stall: 'before' },
    500: refuses(500),
    502: says(502, HTML),
    503: refuses(503),
    '503 with Retry-After': says(503, envelope(429), { 'retry-after': '30' }),
    504: says(504, ''),
    '500 around words of insufficient credit': refuses(500, 1407, 'insufficient credits'),
    301: says(301, '', { location: '/api/v3/predictions' }),
    302: says(302, envelope(200, { id: ID }), { location: '/api/v3/predictions' }),
    'an empty id': says(200, envelope(200, { id: '', status: 'created' })),
    'no id': says(200, envelope(200, { status: 'created' })),
    'no data': says(200, envelope(200)),
    'a body that is no JSON': says(200, MARK),
    'half a body': says(200, envelope(200, { id: ID }).slice(0, -2)),
    HTML: says(200, HTML),
    'an empty body': says(200, ''),
    'code 500 on HTTP 200': refuses(200, 500),
    'a code nobody knows on HTTP 200': refuses(200, 7777),
    'an id beside a refusal': says(400, envelope(400, { id: ID })),
  },
  'unknown, and found in the list': {
    'a reset after it took effect': { cut: 'after' },
    'no answer in time, after it took effect': { stall: 'after' },
  },
}

type Row = readonly [what: string, answer: Answer, meaning: Meaning]

/** One answer to the first POST of a job, from its coming to the end of all it brings about. */
async function play(answer: Answer, { paused, end }: Meaning) {
  let trouble = true
  const isFirst = (call: Call) => promptOf(call).includes('first')
  const key = 'a-key'
  const absent = answer === 'nobody listens' ? await createSimulator({ file: ':memory:', key }) : null
  await absent?.close()
  const stalls = answer !== null && typeof answer === 'object' && 'stall' in answer
  await using world = await open({
    env: {
      ...(stalls && { UPSTREAM_SUBMIT_TIMEOUT_MS: '1000' }),
      ...(absent && { WAVESPEED_API_KEY: key, WAVESPEED_BASE_URL: absent.origin }),
    },
    fault(call) {
      if (call.path === `/predictions/${ID}/result`)
        return shows({ id: ID, status: 'completed', outputs: [VIDEO] })
      if (!trouble || answer === 'nobody listens') return null
      if (isSubmit(call)) return isFirst(call) ? answer : null
      return paused === null ? null : says(503, '')
    },
  })
  const first = await world.submit('first sim:seconds=0')
  let stood: object | null = null
  if (paused !== null) await world.paused()
  else await world.hurried(first.id, ...FINAL)
  const other = await world.submit()
  if (paused !== null) {
    await world.looked()
    const pause = await world.store.paused()
    stood = {
      ...(await world.said()),
      untilMs: paused.untilMs === null ? null : (pause?.until ?? 0) - (pause?.since ?? 0),
      prediction: essence(await world.read(first.id)),
      other: (await world.read(other.id)).status,
      posts: world.submits().length,
    }
    // Probes that nobody answers put the next one off.
    if (absent !== null) stood = { ...stood, untilMs: paused.untilMs }
  }

  trouble = false
  const port = Number(new URL(absent?.origin ?? 'http://127.0.0.1:1').port)
  const back = absent && (await createSimulator({ file: ':memory:', key, port, fault: world.heard }))
  try {
    world.leap(MINUTE + SECOND)
    const completed = (await world.hurried(other.id, ...FINAL)).status
    // To where upstream's list is asked, and past the patience where it knows nothing of the job.
    if (paused?.reason === 'unknown') world.leap('error' in end && end.error ? 11 * MINUTE : 3 * MINUTE)
    const ended = await world.hurried(first.id, ...FINAL)
    await world.resumed()
    await world.looked()
    const texts = [JSON.stringify(ended), JSON.stringify(world.log)].filter(text => text.includes(MARK))
    return {
      stood,
      end: essence(ended),
      other: completed,
      posts: world.submits().filter(isFirst).length + (absent ? 1 : 0),
      othersPosts: world.posts().filter(prompt => prompt === other.prompt).length,
      after: await world.said(),
      told: texts,
      asksOperator: world.log.some(line => line.level === 'warn' && /operator/.test(line.message)),
    }
  } finally {
    await back?.close()
  }
}

test('every answer to a submit has the outcome of the money table, and its trouble ends by itself', async () => {
  const rows = Object.entries(ANSWERS).flatMap(([kind, answers]) =>
    Object.entries(answers).map(
      ([what, answer]): Row => [`${what}: ${kind}`, answer, MONEY[kind as keyof typeof MONEY]],
    ),
  )
  const expected = rows.map(([what, answer, { paused, end, posts }]) => [
    what,
    {
      stood: paused && {
        pause: paused.reason,
        submits: { state: 'open', reason: paused.reason },
        metrics: [paused.reason],
        untilMs: paused.untilMs,
        prediction: paused.prediction,
        other: 'QUEUED',
        posts: answer === 'nobody listens' ? 0 : 1,
      },
      end,
      other: 'COMPLETED',
      posts,
      othersPosts: 1,
      after: { pause: null, submits: { state: 'closed' }, metrics: [] },
      told: [],
      asksOperator: paused?.reason === 'account',
    },
  ])
  const told = await sideBySide(rows, async ([what, answer, meaning]) => [what, await play(answer, meaning)])
  expect(Object.fromEntries(told)).toEqual(Object.fromEntries(expected))
}, 90_000)

const failed = (error: string, retryable: boolean, cost = 0) =>
  essenceOf('FAILED', { error, retryable, cost, isKnownUpstream: true })
const CREATED = essenceOf('CREATED', { isKnownUpstream: true })
const PROCESSING = essenceOf('PROCESSING', { isKnownUpstream: true })
const CANCELED = essenceOf('CANCELED', { isKnownUpstream: true })

type Seen = (id: string) => Fault
const status =
  (status: unknown, more: object = {}): Seen =>
  id =>
    shows({ id, status, outputs: [], error: MARK, ...more })
const business = (code: unknown) => status('failed', { code })

/** What a look shows → how the prediction stands, until another look shows more. */
const LOOKS: [what: string, seen: Seen, prediction: object][] = [
  ['created', status('created'), CREATED],
  ['pending', status('pending'), CREATED],
  ['queued', status('queued'), CREATED],
  ['starting', status('starting'), PROCESSING],
  ['running', status('running'), PROCESSING],
  ['in_progress', status('in_progress'), PROCESSING],
  ['processing', status('processing'), PROCESSING],
  ['a status nobody knows', status('sparkling', { outputs: [VIDEO], code: 1200 }), CREATED],
  ['no status', status(undefined), CREATED],
  ['null', status(null), CREATED],
  ['a status that is no text', status(['failed']), CREATED],
  ["a name of every object's", status('constructor'), CREATED],

  ['completed', status('completed', { outputs: [VIDEO] }), COMPLETED],
  ['succeeded', status('succeeded', { outputs: [{ url: VIDEO }] }), COMPLETED],
  ['success', status('success', { outputs: [null, VIDEO], has_nsfw_contents: null }), COMPLETED],
  ['completed, twice without outputs', status('completed'), failed('NO_OUTPUT', true, 0.8)],
  ['cancelled', status('cancelled'), CANCELED],
  ['canceled', status('canceled'), CANCELED],
  ['deleted', status('deleted'), CANCELED],
  ['timeout', status('timeout'), failed('TIMED_OUT', true, 0.8)],

  ['failed', status('failed'), failed('GENERATION_FAILED', true)],
  ['failed with 1200', business(1200), failed('CONTENT_REJECTED', false)],
  ['failed with 1400', business(1400), failed('INVALID_INPUT', false)],
  ['failed with 1401', business(1401), failed('INVALID_INPUT', false)],
  ['failed with 1402', business(1402), failed('IMAGE_UNREACHABLE', false)],
  ['failed with 1403', business(1403), failed('GENERATION_FAILED', true)],
  ['failed with 1405', business(1405), failed('GENERATION_FAILED', true)],
  ['failed with 1406', business(1406), failed('GENERATION_FAILED', true)],
  ['failed with 1407', business(1407), failed('GENERATION_FAILED', true)],
  ['failed with a code nobody knows', business(7777), failed('GENERATION_FAILED', true)],
  ['failed with a code that is text', business('1200'), failed('CONTENT_REJECTED', false)],
  ['failed with 5000', business(5000), failed('UPSTREAM_UNAVAILABLE', true)],
  ['failed with 5003', business(5003), failed('UPSTREAM_UNAVAILABLE', true)],
  ['failed with 5004', business(5004), failed('TIMED_OUT', true, 0.8)],

  ['404', () => refuses(404), CREATED],
  ['400', () => refuses(400), CREATED],
  ['401', () => refuses(401), CREATED],
  ['429', () => refuses(429), CREATED],
  ['500', () => refuses(500), CREATED],
  ['502 with HTML', () => says(502, HTML), CREATED],
  ['503 around a failure', id => says(503, envelope(200, { id, status: 'failed' })), CREATED],
  ['504', () => says(504, ''), CREATED],
  ['301', () => says(301, '', { location: '/' }), CREATED],
  ['a reset', () => ({ cut: 'before' }), CREATED],
  ['no answer in time', () => ({ stall: 'before' }), CREATED],
  ['HTML', () => says(200, HTML), CREATED],
  ['an empty body', () => says(200, ''), CREATED],
  ['half a body', id => says(200, envelope(200, { id, status: 'failed' }).slice(0, -1)), CREATED],
  ['code 404 on HTTP 200', () => refuses(200, 404), CREATED],
  [
    'code 500 on HTTP 200 around a failure',
    id => says(200, envelope(500, { id, status: 'failed' })),
    CREATED,
  ],
  ["another job's failure", () => shows({ id: ID, status: 'failed' }), CREATED],
  ['no data', () => says(200, envelope(200)), CREATED],
]
const isOver = (prediction: object) => FINAL.includes((prediction as Essence).status)

/** With more than two that bring no answer in one world, looks would fall to one at a time, after ever longer waits. */
const SHARES = 11
const shares = Array.from({ length: SHARES }, (_, share) => LOOKS.filter((_, n) => n % SHARES === share))

test.each(shares.map(share => [share.map(([what]) => what).join(', '), share] as const))(
  'what the contract makes of answers to a look: %s',
  async (_, LOOKS) => {
    /** Looks that show what stands in the table; then, until it is let go, that it waits. */
    const TIMES = 2
    let letGo = false
    const looks = new Map<string, number>()
    await using world = await open({
      env: { UPSTREAM_READ_TIMEOUT_MS: '500' },
      fault(call) {
        if (isSubmit(call)) {
          const nth = /job (\d+)/.exec(promptOf(call))?.[1]
          return shows({ id: `job-${nth}`, status: 'created' })
        }
        const nth = /job-(\d+)/.exec(call.path)?.[1]
        if (nth === undefined) return null
        const id = `job-${nth}`
        const times = (looks.get(id) ?? 0) + 1
        looks.set(id, times)
        const [, answer, prediction] = LOOKS[Number(nth)]!
        // What ends a job does so at whichever look a busy machine can take the answer of.
        if (times <= TIMES || isOver(prediction)) return answer(id)
        return shows({
          id,
          status: letGo ? 'completed' : 'created',
          outputs: letGo ? [VIDEO] : [],
        })
      },
    })
    const jobs = await Promise.all(
      LOOKS.map(async ([what, , prediction], n) => ({
        what,
        upstreamId: `job-${n}`,
        ends: isOver(prediction),
        ...(await world.submit(`job ${n}`)),
      })),
    )
    const told: Record<string, Essence> = {}
    for (const { what, id, upstreamId, ends } of jobs) {
      const { store } = world
      if (ends) told[what] = essence(await world.reached(id, ...FINAL))
      else {
        await until(() => (looks.get(upstreamId) ?? 0) > TIMES)
        told[what] = essence(await world.read(id))
      }
      expect(await store.paused()).toBeNull()
    }
    expect(told).toEqual(Object.fromEntries(LOOKS.map(([what, , prediction]) => [what, prediction])))
    /** A busy machine may take too long for an answer: such a look has shown nothing, and the log says so. */
    const unanswered = (id: string) =>
      world.log.filter(
        ({ message, fields }) =>
          fields.prediction === decodeId(id).id && message.includes('brought no answer'),
      )
    const answered = () =>
      jobs
        .filter(job => job.ends)
        .map(job => [job.what, (looks.get(job.upstreamId) ?? 0) - unanswered(job.id).length])
    const looksAtEnded = answered()

    letGo = true
    const corrected: Record<string, Essence> = {}
    for (const { what, id } of jobs) corrected[what] = essence(await world.reached(id, ...FINAL))
    expect(corrected).toEqual(
      Object.fromEntries(
        LOOKS.map(([what, , prediction]) => [what, isOver(prediction) ? prediction : COMPLETED]),
      ),
    )
    // What has ended is not looked at again.
    for (const [what, count] of looksAtEnded) {
      // Its outputs have the time of a few looks to come, which may be two or three.
      if (String(what).includes('twice')) expect(count).toBeGreaterThanOrEqual(2)
      else expect([what, count]).toEqual([what, 1])
    }
    expect(answered()).toEqual(looksAtEnded)
    expect(world.submits()).toHaveLength(LOOKS.length)
    expect(JSON.stringify([told, world.log])).not.toContain(MARK)
  },
)

test('an account in trouble keeps every row queued, asks once a minute, and goes on by itself when it is mended', async () => {
  let trouble: 'all' | 'submits' | 'none' = 'all'
  await using world = await open({
    env: { UPSTREAM_CONCURRENCY: '2' },
    fault: call => (trouble === 'all' || (trouble === 'submits' && isSubmit(call)) ? refuses(402) : null),
  })
  const { store, harness } = world
  const { data } = await harness.query('{ feedCursor }')
  const first = [await world.submit(), await world.submit()]
  await world.paused()
  await until(() => world.submits().length >= 1)
  const jobs = [...first]
  while (jobs.length < 5) jobs.push(await world.submit())
  await world.looked()
  const sent = world.submits().length
  expect(sent).toBeLessThanOrEqual(2)

  for (let minute = 1; minute <= 2; minute++) {
    const before = world.probes().length
    world.leap(50 * SECOND)
    expect(await world.probing()).toBeNull()
    expect(world.probes()).toHaveLength(before)
    world.leap(11 * SECOND)
    // The list, and as that is refused the balance.
    await until(() => world.probes().length === before + 2)
  }
  await world.looked()
  expect(world.submits()).toHaveLength(sent)
  expect(world.calls).toHaveLength(sent + world.probes().length)
  const rows = await Promise.all(jobs.map(({ id }) => world.read(id)))
  expect(rows.map(essence)).toEqual(jobs.map((_, i) => ({ ...WAITS, queuePosition: i + 1 })))
  expect(await world.said()).toEqual({
    pause: 'account',
    submits: { state: 'open', reason: 'account' },
    metrics: ['account'],
  })
  expect(await world.ready()).toMatchObject({ status: 'ready', database: 'ok', reads: 'on' })
  expect(world.log.filter(line => line.level === 'warn' && /operator/.test(line.message))).toHaveLength(sent)

  // It can be read again, and still takes nothing: each time one alone is tried.
  trouble = 'submits'
  for (const tries of [1, 2]) {
    world.leap(MINUTE + SECOND)
    await until(async () => (await store.paused())?.failures === tries)
    await world.looked()
    expect(world.submits()).toHaveLength(sent + tries)
  }

  trouble = 'none'
  world.leap(MINUTE + SECOND)
  for (const { id } of jobs) await world.hurried(id, 'COMPLETED')
  expect(await world.said()).toEqual({ pause: null, submits: { state: 'closed' }, metrics: [] })
  expect(world.log.some(line => line.level === 'info' && /submits go on/.test(line.message))).toBe(true)
  expect(world.submits()).toHaveLength(sent + 2 + jobs.length)

  // To who watches, nothing of it has happened.
  const feed = harness.subscribe('SSE', FEED, { after: data.feedCursor })
  const statuses: string[] = []
  while (statuses.filter(status => status === 'COMPLETED').length < jobs.length) {
    const { value } = await feed.next()
    statuses.push(value.data.predictionFeed.prediction?.status)
  }
  expect(statuses.filter(status => status === 'QUEUED')).toHaveLength(jobs.length)
  expect(statuses.filter(status => ['FAILED', 'CANCELED'].includes(status))).toEqual([])
  await feed.return?.()
})

test('of two answers that came at once the longer wait stands', async () => {
  let trouble = true
  await using world = await open({
    env: { UPSTREAM_CONCURRENCY: '2' },
    fault(call) {
      if (!trouble || !isSubmit(call)) return null
      return promptOf(call).includes('first')
        ? says(429, envelope(429), { 'retry-after': '300' })
        : says(500, '')
    },
  })
  const { store } = world
  // Both images are seen, so both are sent by one claim.
  const [first, second] = await world.unseen(async () => {
    const both = [await world.submit('first sim:seconds=0'), await world.submit()] as const
    await until(() => world.claimable() === 2)
    return both
  })
  await until(() => world.log.filter(line => /submits pause/.test(line.message)).length === 2)
  const { since, until: end } = (await store.paused())!
  expect(end - since).toBeGreaterThan(299 * SECOND)
  trouble = false
  world.leap(4 * MINUTE)
  expect(await world.probing()).toBeNull()
  expect(world.submits()).toHaveLength(2)
  world.leap(MINUTE + SECOND)
  await world.hurried(first.id, 'COMPLETED')
  expect((await world.said()).submits).toEqual({ state: 'closed' })
  expect(world.posts().filter(prompt => prompt === second.prompt)).toHaveLength(1)
})

test('429 lowers the concurrency in use, and each that goes well brings it nearer to what is configured', async () => {
  let isThrottled = false
  await using world = await open({
    env: { UPSTREAM_CONCURRENCY: '4' },
    fault: call => (isSubmit(call) && isThrottled ? refuses(429) : null),
  })
  const { store, gateway } = world
  const inUse = async () => ({
    pace: (await store.pace())?.concurrency ?? null,
    gauge: await world.gauge('rushes_concurrency_limit'),
    ready: (await world.ready()).concurrency ?? null,
  })
  expect(await inUse()).toEqual({ pace: null, gauge: 4, ready: null })

  const jobs: { id: string }[] = []
  for (let n = 0; n < 3; n++) jobs.push(await world.submit('sim:seconds=60'))
  for (const { id } of jobs) await world.reached(id, 'CREATED', 'PROCESSING')
  isThrottled = true
  jobs.push(await world.submit('sim:seconds=60'))
  await world.paused()
  expect(await inUse()).toEqual({ pace: 2, gauge: 2, ready: 2 })

  isThrottled = false
  while (jobs.length < 10) jobs.push(await world.submit('sim:seconds=60'))
  world.leap(MINUTE + SECOND)
  // Three are more than two.
  await until(async () => (await store.paused())?.trial)
  await world.looked()
  expect(world.submits()).toHaveLength(4)
  expect(await world.said()).toEqual({
    pause: 'throttled',
    submits: { state: 'half-open', reason: 'throttled' },
    metrics: [],
  })

  const waves = []
  for (const more of [3, 4]) {
    const sent = world.submits().length
    gateway.simulator?.advance(61 * SECOND)
    world.leap(61 * SECOND)
    await until(() => world.submits().length >= sent + more)
    const isAccepted = async () =>
      (await Promise.all(jobs.map(({ id }) => world.read(id)))).filter(
        ({ upstreamId }) => upstreamId !== null,
      ).length
    await until(async () => (await isAccepted()) === sent + more - 1)
    await world.looked()
    waves.push([world.submits().length - sent, await inUse()])
  }
  expect(waves).toEqual([
    [3, { pace: 3, gauge: 3, ready: 3 }],
    [4, { pace: null, gauge: 4, ready: null }],
  ])
  gateway.simulator?.advance(61 * SECOND)
  for (const { id } of jobs) await world.hurried(id, 'COMPLETED')
  expect(world.submits()).toHaveLength(jobs.length + 1)
})

/** Each 429 of the sixteen halves it anew, to one; at one, 120 must be accepted before all sixteen are back. */
test('the 429s that answer one burst lower the concurrency once, not each', async () => {
  let isThrottled = true
  await using world = await open({
    env: { UPSTREAM_CONCURRENCY: '16' },
    fault: call => (isSubmit(call) && isThrottled ? refuses(429) : null),
  })
  await world.unseen(async () => {
    for (let n = 0; n < 16; n++) await world.submit('sim:seconds=60')
    await until(() => world.claimable() === 16)
  })
  await until(() => world.log.filter(line => /submits pause/.test(line.message)).length === 16)
  isThrottled = false
  expect((await world.store.pace())?.concurrency).toBe(8)
})

test('with upstream down looks fall to one at a time after growing waits, however many jobs are in flight, and recover', async () => {
  let down = false
  await using world = await open({ fault: call => (down && isLook(call) ? refuses(503) : null) })
  const JOBS = 40
  const jobs = await Promise.all(Array.from({ length: JOBS }, () => world.submit('sim:seconds=600')))
  for (const { id } of jobs) await world.reached(id, 'CREATED', 'PROCESSING')
  expect([await world.gauge('rushes_poll_circuit_open'), (await world.ready()).reads]).toEqual([0, 'on'])

  down = true
  await until(async () => (await world.ready()).reads === 'failing')
  const opened = world.now()
  expect(await world.gauge('rushes_poll_circuit_open')).toBe(1)
  // What was under way when it opened may still arrive.
  const since = (at: number) => world.looks().filter(look => look.at > at + 300)
  await until(() => since(opened).length > 0)
  const tried = since(opened)[0]!.at
  expect(tried - opened).toBeGreaterThan(800)
  const before = world.looks().length
  expect((await world.ready()).reads).toBe('failing')
  down = false
  await until(async () => (await world.ready()).reads === 'on')
  expect(await world.gauge('rushes_poll_circuit_open')).toBe(0)
  expect(world.looks()[before]!.at - tried).toBeGreaterThan(1800)

  // Now all of them again, and nothing was lost.
  const looked = world.looks().length
  await until(
    () =>
      new Set(
        world
          .looks()
          .slice(looked)
          .map(look => look.path),
      ).size === JOBS,
  )
  world.gateway.simulator?.advance(600 * SECOND)
  for (const { id } of jobs) await world.hurried(id, 'COMPLETED')
  expect(world.submits()).toHaveLength(JOBS)
  expect(world.log.filter(line => /one look at a time/.test(line.message))).toHaveLength(1)
})
