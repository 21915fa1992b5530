import { expect, test } from 'vitest'
import { decodeId } from '../../src/graphql/global-id.ts'
import { type ApiCall, createSimulator, type Fault } from '../../src/simulator/simulator.ts'
import { runConcurrently } from '../support/run-concurrently.ts'
import { until } from '../support/until.ts'
import {
  dataReply,
  envelope,
  FINAL_STATUSES,
  isPoll,
  isSubmit,
  LEAK_MARKER,
  openWorld,
  promptOf,
  refusal,
  reply,
  type WorldOptions,
} from '../support/world.ts'

const SECOND = 1000
const MINUTE = 60 * SECOND
const ID = '45b392b22c3b449fa935bd4dc2219dfe'
const VIDEO = 'https://videos.example/1.mp4'
const CIRCUIT_REASONS = ['unknown', 'unreachable', 'account', 'throttled']

const FEED = `subscription ($after: String) {
  predictionFeed(after: $after) { ... on PredictionEvent { prediction { id status } } }
}`

/** A world, with its metrics and its readiness. */
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
    /** The state of the submit circuit, in the store, /health/ready and the metrics. */
    async circuitReport() {
      const circuit = await store.submitCircuit()
      const scraped = await metrics()
      const { submits } = (await (await harness.fetch('/health/ready')).json()) as { submits: object }
      const openReasons = CIRCUIT_REASONS.filter(reason =>
        scraped.includes(`rushes_submit_circuit_open{reason="${reason}"} 1\n`),
      )
      const closedReasons = CIRCUIT_REASONS.filter(reason =>
        scraped.includes(`rushes_submit_circuit_open{reason="${reason}"} 0\n`),
      )
      expect(openReasons.length + closedReasons.length).toBe(CIRCUIT_REASONS.length)
      return { reason: circuit?.reason ?? null, submits, metrics: openReasons }
    },
    gauge: async (name: string) => Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(await metrics())?.[1]),
  })
}

const HTML = `<html>${LEAK_MARKER}</html>`

/** The fields that the tables compare. */
interface ReadPrediction {
  status: string
  error: { code: string; retryable: boolean } | null
  cost: { amount: number }
  queuePosition: number | null
  upstreamId: string | null
}
const outcomeOf = ({ status, error, cost, queuePosition, upstreamId }: ReadPrediction) => ({
  status,
  error: error?.code ?? null,
  retryable: error?.retryable ?? null,
  cost: cost.amount,
  queuePosition,
  isKnownUpstream: upstreamId !== null,
})
type PredictionOutcome = ReturnType<typeof outcomeOf>

const expectedOutcome = (status: string, over: object = {}) => ({
  status,
  error: null,
  retryable: null,
  cost: 0.8,
  queuePosition: null,
  isKnownUpstream: false,
  ...over,
})
const COMPLETED = expectedOutcome('COMPLETED', { isKnownUpstream: true })
const QUEUED = expectedOutcome('QUEUED', { queuePosition: 1 })

interface ExpectedEffect {
  /** While the submit circuit is open; null where it stays closed. */
  whileOpen: { reason: string; prediction: object; untilMs: number | null } | null
  /** After upstream has recovered. */
  final: object
  /** Number of POSTs in all. */
  submits: number
}

const openCircuit = (reason: string, untilMs: number | null, prediction: object = QUEUED) => ({
  reason,
  untilMs,
  prediction,
})
const SUBMITTED_AGAIN = { final: COMPLETED, submits: 2 }
/** It is never sent again. */
const OUTCOME_UNKNOWN: ExpectedEffect = {
  whileOpen: openCircuit('unknown', null, expectedOutcome('QUEUED')),
  final: expectedOutcome('FAILED', { error: 'SUBMISSION_UNKNOWN', retryable: false }),
  submits: 1,
}
const EFFECTS = {
  accepted: { whileOpen: null, final: COMPLETED, submits: 1 },
  'rejected input': {
    whileOpen: null,
    final: expectedOutcome('FAILED', { error: 'INVALID_INPUT', retryable: false, cost: 0 }),
    submits: 1,
  },
  'not sent': { whileOpen: openCircuit('unreachable', SECOND), ...SUBMITTED_AGAIN },
  'account trouble': { whileOpen: openCircuit('account', MINUTE), ...SUBMITTED_AGAIN },
  throttled: { whileOpen: openCircuit('throttled', MINUTE), ...SUBMITTED_AGAIN },
  'throttled for thirty seconds': { whileOpen: openCircuit('throttled', 30 * SECOND), ...SUBMITTED_AGAIN },
  unknown: OUTCOME_UNKNOWN,
  'unknown, and found in the list': { ...OUTCOME_UNKNOWN, final: COMPLETED },
} as const satisfies Record<string, ExpectedEffect>

type Answer = Fault | 'connection refused' | null
const ANSWERS: Record<keyof typeof EFFECTS, Record<string, Answer>> = {
  accepted: {
    'HTTP 200, code 200 and an id': null,
    'HTTP 201, code 200 and an id': reply(201, envelope(200, { id: ID, status: 'created' })),
    'an id and nothing else': reply(200, envelope(200, { id: ID })),
  },
  'rejected input': {
    400: refusal(400),
    422: refusal(422),
    '422 with HTML': reply(422, HTML),
    'code 400 on HTTP 200': refusal(200, 400),
  },
  'not sent': { 'a refused connection': 'connection refused' },
  'account trouble': {
    401: refusal(401),
    402: refusal(402),
    403: refusal(403),
    '403 with HTML': reply(403, HTML),
    'code 401 on HTTP 200': refusal(200, 401),
    'code 1407 on HTTP 200': refusal(200, 1407),
    'code 1407 on HTTP 400': refusal(400, 1407),
    'code 1407 on HTTP 429': refusal(429, 1407),
    'words of insufficient credit on HTTP 400': refusal(400, 400, `Insufficient credits, ${LEAK_MARKER}`),
    'words of insufficient credit on HTTP 200': refusal(200, 400, `insufficient balance, ${LEAK_MARKER}`),
  },
  throttled: {
    '429 without Retry-After': refusal(429),
    '429 with an invalid Retry-After': reply(429, envelope(429), { 'retry-after': 'soon' }),
    'code 429 on HTTP 200': refusal(200, 429),
  },
  'throttled for thirty seconds': {
    '429 with Retry-After': reply(429, envelope(429), { 'retry-after': '30' }),
  },
  unknown: {
    'a reset before it took effect': { cut: 'before' },
    'no answer in time, before it took effect': { stall: 'before' },
    500: refusal(500),
    502: reply(502, HTML),
    503: refusal(503),
    '503 with Retry-After': reply(503, envelope(429), { 'retry-after': '30' }),
    504: reply(504, ''),
    '500 around words of insufficient credit': refusal(500, 1407, 'insufficient credits'),
    301: reply(301, '', { location: '/api/v3/predictions' }),
    302: reply(302, envelope(200, { id: ID }), { location: '/api/v3/predictions' }),
    'an empty id': reply(200, envelope(200, { id: '', status: 'created' })),
    'no id': reply(200, envelope(200, { status: 'created' })),
    'no data': reply(200, envelope(200)),
    'a body that is not JSON': reply(200, LEAK_MARKER),
    'half a body': reply(200, envelope(200, { id: ID }).slice(0, -2)),
    HTML: reply(200, HTML),
    'an empty body': reply(200, ''),
    'code 500 on HTTP 200': refusal(200, 500),
    'an unknown code on HTTP 200': refusal(200, 7777),
    'an id beside a refusal': reply(400, envelope(400, { id: ID })),
  },
  'unknown, and found in the list': {
    'a reset after it took effect': { cut: 'after' },
    'no answer in time, after it took effect': { stall: 'after' },
  },
}

type Row = readonly [title: string, answer: Answer, effect: ExpectedEffect]

/** Runs one answer to the first POST of a job, from its arrival to the end of all effects. */
async function runCase(answer: Answer, { whileOpen, final }: ExpectedEffect) {
  let isFailing = true
  const isFirst = (call: ApiCall) => promptOf(call).includes('first')
  const key = 'a-key'
  const absent = answer === 'connection refused' ? await createSimulator({ file: ':memory:', key }) : null
  await absent?.close()
  const stalls = answer !== null && typeof answer === 'object' && 'stall' in answer
  await using world = await open({
    env: {
      ...(stalls && { UPSTREAM_SUBMIT_TIMEOUT_MS: '1000' }),
      ...(absent && { WAVESPEED_API_KEY: key, WAVESPEED_BASE_URL: absent.origin }),
    },
    fault(call) {
      if (call.path === `/predictions/${ID}/result`)
        return dataReply({ id: ID, status: 'completed', outputs: [VIDEO] })
      if (!isFailing || answer === 'connection refused') return null
      if (isSubmit(call)) return isFirst(call) ? answer : null
      return whileOpen === null ? null : reply(503, '')
    },
  })
  const first = await world.submit('first sim:seconds=0')
  let stateWhileOpen: object | null = null
  if (whileOpen !== null) await world.untilCircuitOpen()
  else await world.fastForwardToStatus(first.id, ...FINAL_STATUSES)
  const other = await world.submit()
  if (whileOpen !== null) {
    await world.untilSubmitterClaimed()
    const circuit = await world.store.submitCircuit()
    stateWhileOpen = {
      ...(await world.circuitReport()),
      untilMs: whileOpen.untilMs === null ? null : (circuit?.until ?? 0) - (circuit?.since ?? 0),
      prediction: outcomeOf(await world.read(first.id)),
      other: (await world.read(other.id)).status,
      posts: world.submits().length,
    }
    // Probes without an answer postpone the next one.
    if (absent !== null) stateWhileOpen = { ...stateWhileOpen, untilMs: whileOpen.untilMs }
  }

  isFailing = false
  const port = Number(new URL(absent?.origin ?? 'http://127.0.0.1:1').port)
  const restarted =
    absent && (await createSimulator({ file: ':memory:', key, port, fault: world.recordCall }))
  try {
    world.advanceClock(MINUTE + SECOND)
    const completed = (await world.fastForwardToStatus(other.id, ...FINAL_STATUSES)).status
    // Advances to the search of upstream's list, and beyond UPSTREAM_UNKNOWN_MS where upstream does not list the job.
    if (whileOpen?.reason === 'unknown')
      world.advanceClock('error' in final && final.error ? 11 * MINUTE : 3 * MINUTE)
    const ended = await world.fastForwardToStatus(first.id, ...FINAL_STATUSES)
    await world.untilCircuitClosed()
    await world.untilSubmitterClaimed()
    const texts = [JSON.stringify(ended), JSON.stringify(world.log)].filter(text =>
      text.includes(LEAK_MARKER),
    )
    return {
      stood: stateWhileOpen,
      end: outcomeOf(ended),
      other: completed,
      posts: world.submits().filter(isFirst).length + (absent ? 1 : 0),
      othersPosts: world.submittedPrompts().filter(prompt => prompt === other.prompt).length,
      after: await world.circuitReport(),
      leaks: texts,
      asksOperator: world.log.some(line => line.level === 'warn' && /operator/.test(line.message)),
    }
  } finally {
    await restarted?.close()
  }
}

test('every answer to a submit has the outcome of the table, and its circuit closes by itself', async () => {
  const rows = Object.entries(ANSWERS).flatMap(([kind, answers]) =>
    Object.entries(answers).map(
      ([title, answer]): Row => [`${title}: ${kind}`, answer, EFFECTS[kind as keyof typeof EFFECTS]],
    ),
  )
  const expected = rows.map(([title, answer, { whileOpen, final, submits }]) => [
    title,
    {
      stood: whileOpen && {
        reason: whileOpen.reason,
        submits: { state: 'open', reason: whileOpen.reason },
        metrics: [whileOpen.reason],
        untilMs: whileOpen.untilMs,
        prediction: whileOpen.prediction,
        other: 'QUEUED',
        posts: answer === 'connection refused' ? 0 : 1,
      },
      end: final,
      other: 'COMPLETED',
      posts: submits,
      othersPosts: 1,
      after: { reason: null, submits: { state: 'closed' }, metrics: [] },
      leaks: [],
      asksOperator: whileOpen?.reason === 'account',
    },
  ])
  const results = await runConcurrently(rows, async ([title, answer, effect]) => [
    title,
    await runCase(answer, effect),
  ])
  expect(Object.fromEntries(results)).toEqual(Object.fromEntries(expected))
}, 90_000)

const failed = (error: string, retryable: boolean, cost = 0) =>
  expectedOutcome('FAILED', { error, retryable, cost, isKnownUpstream: true })
const CREATED = expectedOutcome('CREATED', { isKnownUpstream: true })
const PROCESSING = expectedOutcome('PROCESSING', { isKnownUpstream: true })
const CANCELED = expectedOutcome('CANCELED', { isKnownUpstream: true })

type PollAnswer = (id: string) => Fault
const status =
  (status: unknown, more: object = {}): PollAnswer =>
  id =>
    dataReply({ id, status, outputs: [], error: LEAK_MARKER, ...more })
const failedWith = (code: unknown) => status('failed', { code })

/** Answer to a poll, and the state of the prediction until another poll. */
const POLL_CASES: [title: string, answer: PollAnswer, prediction: object][] = [
  ['created', status('created'), CREATED],
  ['pending', status('pending'), CREATED],
  ['queued', status('queued'), CREATED],
  ['starting', status('starting'), PROCESSING],
  ['running', status('running'), PROCESSING],
  ['in_progress', status('in_progress'), PROCESSING],
  ['processing', status('processing'), PROCESSING],
  ['an unknown status', status('sparkling', { outputs: [VIDEO], code: 1200 }), CREATED],
  ['no status', status(undefined), CREATED],
  ['null', status(null), CREATED],
  ['a status that is not text', status(['failed']), CREATED],
  ["a name of every object's", status('constructor'), CREATED],

  ['completed', status('completed', { outputs: [VIDEO] }), COMPLETED],
  ['succeeded', status('succeeded', { outputs: [{ url: VIDEO }] }), COMPLETED],
  ['success', status('success', { outputs: [null, VIDEO], has_nsfw_contents: null }), COMPLETED],
  ['completed, twice without outputs', status('completed'), failed('NO_OUTPUT', true, 0.8)],
  ['completed, with blanks in the URL', status('completed', { outputs: [` ${VIDEO}?a b\n`] }), COMPLETED],
  [
    'completed, twice with an output that is not a URL',
    status('completed', { outputs: ['/1.mp4'] }),
    failed('NO_OUTPUT', true, 0.8),
  ],
  ['cancelled', status('cancelled'), CANCELED],
  ['canceled', status('canceled'), CANCELED],
  ['deleted', status('deleted'), CANCELED],
  ['timeout', status('timeout'), failed('TIMED_OUT', true, 0.8)],

  ['failed', status('failed'), failed('GENERATION_FAILED', true)],
  ['failed with 1200', failedWith(1200), failed('CONTENT_REJECTED', false)],
  ['failed with 1400', failedWith(1400), failed('INVALID_INPUT', false)],
  ['failed with 1401', failedWith(1401), failed('INVALID_INPUT', false)],
  ['failed with 1402', failedWith(1402), failed('IMAGE_UNREACHABLE', false)],
  ['failed with 1403', failedWith(1403), failed('GENERATION_FAILED', true)],
  ['failed with 1405', failedWith(1405), failed('GENERATION_FAILED', true)],
  ['failed with 1406', failedWith(1406), failed('GENERATION_FAILED', true)],
  ['failed with 1407', failedWith(1407), failed('GENERATION_FAILED', true)],
  ['failed with an unknown code', failedWith(7777), failed('GENERATION_FAILED', true)],
  ['failed with a code that is text', failedWith('1200'), failed('CONTENT_REJECTED', false)],
  ['failed with 5000', failedWith(5000), failed('UPSTREAM_UNAVAILABLE', true)],
  ['failed with 5003', failedWith(5003), failed('UPSTREAM_UNAVAILABLE', true)],
  ['failed with 5004', failedWith(5004), failed('TIMED_OUT', true, 0.8)],

  ['404', () => refusal(404), CREATED],
  ['400', () => refusal(400), CREATED],
  ['401', () => refusal(401), CREATED],
  ['429', () => refusal(429), CREATED],
  ['500', () => refusal(500), CREATED],
  ['502 with HTML', () => reply(502, HTML), CREATED],
  ['503 around a failure', id => reply(503, envelope(200, { id, status: 'failed' })), CREATED],
  ['504', () => reply(504, ''), CREATED],
  ['301', () => reply(301, '', { location: '/' }), CREATED],
  ['a reset', () => ({ cut: 'before' }), CREATED],
  ['no answer in time', () => ({ stall: 'before' }), CREATED],
  ['HTML', () => reply(200, HTML), CREATED],
  ['an empty body', () => reply(200, ''), CREATED],
  ['half a body', id => reply(200, envelope(200, { id, status: 'failed' }).slice(0, -1)), CREATED],
  ['code 404 on HTTP 200', () => refusal(200, 404), CREATED],
  [
    'code 500 on HTTP 200 around a failure',
    id => reply(200, envelope(500, { id, status: 'failed' })),
    CREATED,
  ],
  ["another job's failure", () => dataReply({ id: ID, status: 'failed' }), CREATED],
  ['no data', () => reply(200, envelope(200)), CREATED],
]
const hasFinalStatus = (prediction: object) =>
  FINAL_STATUSES.includes((prediction as PredictionOutcome).status)

/** More than two failing polls in one world would open the poll circuit. */
const CASE_GROUPS = 11
const caseGroups = Array.from({ length: CASE_GROUPS }, (_, group) =>
  POLL_CASES.filter((_, n) => n % CASE_GROUPS === group),
)

test.each(caseGroups.map(group => [group.map(([title]) => title).join(', '), group] as const))(
  'poll answers by contract: %s',
  async (_, cases) => {
    /** Polls that give the answer of the table. Later polls find the job waiting, until it is released. */
    const STABLE_POLLS = 2
    let isReleased = false
    const pollCounts = new Map<string, number>()
    await using world = await open({
      env: { UPSTREAM_READ_TIMEOUT_MS: '500' },
      fault(call) {
        if (isSubmit(call)) {
          const nth = /job (\d+)/.exec(promptOf(call))?.[1]
          return dataReply({ id: `job-${nth}`, status: 'created' })
        }
        const nth = /job-(\d+)/.exec(call.path)?.[1]
        if (nth === undefined) return null
        const id = `job-${nth}`
        const pollCount = (pollCounts.get(id) ?? 0) + 1
        pollCounts.set(id, pollCount)
        const [, answer, prediction] = cases[Number(nth)]!
        // An answer that ends a job is repeated, since a busy machine may miss the first one.
        if (pollCount <= STABLE_POLLS || hasFinalStatus(prediction)) return answer(id)
        return dataReply({
          id,
          status: isReleased ? 'completed' : 'created',
          outputs: isReleased ? [VIDEO] : [],
        })
      },
    })
    const jobs = await Promise.all(
      cases.map(async ([title, , prediction], n) => ({
        title,
        upstreamId: `job-${n}`,
        isFinal: hasFinalStatus(prediction),
        ...(await world.submit(`job ${n}`)),
      })),
    )
    const outcomes: Record<string, PredictionOutcome> = {}
    for (const { title, id, upstreamId, isFinal } of jobs) {
      const { store } = world
      if (isFinal) outcomes[title] = outcomeOf(await world.untilStatus(id, ...FINAL_STATUSES))
      else {
        await until(() => (pollCounts.get(upstreamId) ?? 0) > STABLE_POLLS)
        outcomes[title] = outcomeOf(await world.read(id))
      }
      expect(await store.submitCircuit()).toBeNull()
    }
    expect(outcomes).toEqual(Object.fromEntries(cases.map(([title, , prediction]) => [title, prediction])))
    /** A busy machine may be too slow for an answer. Such a poll had no result, and the log says so. */
    const unanswered = (id: string) =>
      world.log.filter(
        ({ message, fields }) => fields.prediction === decodeId(id).id && message.includes('a poll failed'),
      )
    const answeredPolls = () =>
      jobs
        .filter(job => job.isFinal)
        .map(job => [job.title, (pollCounts.get(job.upstreamId) ?? 0) - unanswered(job.id).length])
    const pollsAtEnd = answeredPolls()

    isReleased = true
    const corrected: Record<string, PredictionOutcome> = {}
    for (const { title, id } of jobs)
      corrected[title] = outcomeOf(await world.untilStatus(id, ...FINAL_STATUSES))
    expect(corrected).toEqual(
      Object.fromEntries(
        cases.map(([title, , prediction]) => [title, hasFinalStatus(prediction) ? prediction : COMPLETED]),
      ),
    )
    // A prediction that has ended is not polled again.
    for (const [title, count] of pollsAtEnd) {
      // Missing outputs get a few more polls, which may be two or three.
      if (String(title).includes('twice')) expect(count).toBeGreaterThanOrEqual(2)
      else expect([title, count]).toEqual([title, 1])
    }
    expect(answeredPolls()).toEqual(pollsAtEnd)
    expect(world.submits()).toHaveLength(cases.length)
    expect(JSON.stringify([outcomes, world.log])).not.toContain(LEAK_MARKER)
  },
)

test('account trouble keeps every row queued, is probed once a minute, and ends by itself when the account is mended', async () => {
  let failing: 'all' | 'submits' | 'none' = 'all'
  await using world = await open({
    env: { UPSTREAM_CONCURRENCY: '2' },
    fault: call => (failing === 'all' || (failing === 'submits' && isSubmit(call)) ? refusal(402) : null),
  })
  const { store, harness } = world
  const { data } = await harness.query('{ feedCursor }')
  const first = [await world.submit(), await world.submit()]
  await world.untilCircuitOpen()
  await until(() => world.submits().length >= 1)
  const jobs = [...first]
  while (jobs.length < 5) jobs.push(await world.submit())
  await world.untilSubmitterClaimed()
  const sent = world.submits().length
  expect(sent).toBeLessThanOrEqual(2)

  for (let minute = 1; minute <= 2; minute++) {
    const before = world.probes().length
    world.advanceClock(50 * SECOND)
    expect(await world.nextClaimedProbe()).toBeNull()
    expect(world.probes()).toHaveLength(before)
    world.advanceClock(11 * SECOND)
    // The list, and since that is refused the balance.
    await until(() => world.probes().length === before + 2)
  }
  await world.untilSubmitterClaimed()
  expect(world.submits()).toHaveLength(sent)
  expect(world.calls).toHaveLength(sent + world.probes().length)
  const rows = await Promise.all(jobs.map(({ id }) => world.read(id)))
  expect(rows.map(outcomeOf)).toEqual(jobs.map((_, i) => ({ ...QUEUED, queuePosition: i + 1 })))
  expect(await world.circuitReport()).toEqual({
    reason: 'account',
    submits: { state: 'open', reason: 'account' },
    metrics: ['account'],
  })
  expect(await world.ready()).toMatchObject({ status: 'ready', database: 'ok', reads: 'on' })
  expect(world.log.filter(line => line.level === 'warn' && /operator/.test(line.message))).toHaveLength(sent)

  // Upstream can be read again but rejects every submit. Each time a single job is the probe.
  failing = 'submits'
  for (const tries of [1, 2]) {
    world.advanceClock(MINUTE + SECOND)
    await until(async () => (await store.submitCircuit())?.failures === tries)
    await world.untilSubmitterClaimed()
    expect(world.submits()).toHaveLength(sent + tries)
  }

  failing = 'none'
  world.advanceClock(MINUTE + SECOND)
  for (const { id } of jobs) await world.fastForwardToStatus(id, 'COMPLETED')
  expect(await world.circuitReport()).toEqual({ reason: null, submits: { state: 'closed' }, metrics: [] })
  expect(world.log.some(line => line.level === 'info' && /half-open/.test(line.message))).toBe(true)
  expect(world.submits()).toHaveLength(sent + 2 + jobs.length)

  // A subscriber sees no change.
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

test('a model that upstream does not offer holds its own jobs only, and they go on by themselves', async () => {
  const MODEL_480P = 'alibaba/wan-2.2/i2v-plus-480p'
  let isOffered = false
  await using world = await open({
    fault: call =>
      isSubmit(call) && call.path === `/${MODEL_480P}` && !isOffered
        ? refusal(404, 404, `model ${MODEL_480P} not found`)
        : null,
  })
  const held = await world.withoutSubmitter(async () => {
    const jobs = []
    for (let n = 0; n < 12; n++)
      jobs.push(await world.submit(undefined, undefined, { model: 'WAN_2_2_I2V_PLUS_480P' }))
    await until(async () => (await world.claimableCount()) === 12)
    return jobs
  })
  const submitsOfModel = () => world.submits().filter(({ path }) => path === `/${MODEL_480P}`)
  await until(() => submitsOfModel().length > 0)
  const others = []
  for (let n = 0; n < 3; n++) others.push(await world.submit())
  for (const { id } of others) await world.untilStatus(id, 'COMPLETED')
  for (const { id } of held)
    expect(outcomeOf(await world.read(id))).toMatchObject({ status: 'QUEUED', cost: 0.2 })
  expect((await world.circuitReport()).submits).toEqual({ state: 'closed' })
  // The jobs of the first claim are under way at once. After it one job at a time is the probe.
  const sent = submitsOfModel().length
  world.advanceClock(10 * SECOND)
  await until(() => submitsOfModel().length > sent)
  await world.untilSubmitterClaimed(3)
  expect(submitsOfModel()).toHaveLength(sent + 1)
  const warnings = world.log.filter(({ message }) => /does not offer this model/.test(message))
  expect(warnings[0]).toMatchObject({ level: 'warn', fields: { model: 'WAN_2_2_I2V_PLUS_480P' } })

  isOffered = true
  for (const { id } of held) await world.fastForwardToStatus(id, 'COMPLETED')
  expect(submitsOfModel()).toHaveLength(sent + 1 + held.length)
})

test('while probes cannot read upstream, health says so though no job is polled', async () => {
  let isFailing = true
  await using world = await open({ fault: () => (isFailing ? reply(200, HTML) : null) })
  const job = await world.submit()
  await world.untilCircuitOpen()
  await until(async () => {
    world.advanceClock(MINUTE)
    return (await world.ready()).reads === 'failing'
  })
  expect(world.polls()).toEqual([])
  expect(world.log.some(({ level, message }) => level === 'warn' && /could not be read/.test(message))).toBe(
    true,
  )
  isFailing = false
  await until(async () => {
    world.advanceClock(MINUTE)
    return (await world.ready()).reads === 'on'
  })
  expect((await world.read(job.id)).status).toMatch(/QUEUED|FAILED/)
})

test.each([
  ['rich', 100, 'FAILED'],
  ['broke', 0.5, 'QUEUED'],
])('a prompt about money that upstream repeats accuses no account that is %s', async (_, balance, status) => {
  const prompts: string[] = []
  await using world = await open({
    fault(call) {
      if (call.path === '/balance') return dataReply({ balance })
      if (!isSubmit(call) || !promptOf(call).includes('funds')) return null
      prompts.push(promptOf(call))
      return refusal(400, 400, `PROMPT NOT ALLOWED: ${promptOf(call).toUpperCase().slice(0, 60)}…`)
    },
  })
  const poor = await world.submit('beggar with insufficient funds')
  if (status === 'FAILED') {
    expect(outcomeOf(await world.untilStatus(poor.id, ...FINAL_STATUSES))).toMatchObject({
      error: 'INVALID_INPUT',
      cost: 0,
    })
    expect(await world.store.submitCircuit()).toBeNull()
  } else {
    await world.untilCircuitOpen()
    expect((await world.circuitReport()).reason).toBe('account')
    expect(outcomeOf(await world.read(poor.id))).toMatchObject({ status: 'QUEUED' })
  }
  expect(prompts).toHaveLength(1)
})

test('of two answers at once the longer wait counts', async () => {
  let isFailing = true
  await using world = await open({
    env: { UPSTREAM_CONCURRENCY: '2' },
    fault(call) {
      if (!isFailing || !isSubmit(call)) return null
      return promptOf(call).includes('first')
        ? reply(429, envelope(429), { 'retry-after': '300' })
        : reply(500, '')
    },
  })
  const { store } = world
  // Both images are verified, so one claim sends both jobs.
  const [first, second] = await world.withoutSubmitter(async () => {
    const both = [await world.submit('first sim:seconds=0'), await world.submit()] as const
    await until(async () => (await world.claimableCount()) === 2)
    return both
  })
  await until(() => world.log.filter(line => /submit circuit open/.test(line.message)).length === 2)
  const { since, until: end } = (await store.submitCircuit())!
  expect(end - since).toBeGreaterThan(299 * SECOND)
  isFailing = false
  world.advanceClock(4 * MINUTE)
  expect(await world.nextClaimedProbe()).toBeNull()
  expect(world.submits()).toHaveLength(2)
  world.advanceClock(MINUTE + SECOND)
  await world.fastForwardToStatus(first.id, 'COMPLETED')
  expect((await world.circuitReport()).submits).toEqual({ state: 'closed' })
  expect(world.submittedPrompts().filter(prompt => prompt === second.prompt)).toHaveLength(1)
})

test('a 429 lowers the concurrency limit, and each accepted submit raises it towards the configured one', async () => {
  let isThrottled = false
  await using world = await open({
    env: { UPSTREAM_CONCURRENCY: '4' },
    fault: call => (isSubmit(call) && isThrottled ? refusal(429) : null),
  })
  const { store, gateway } = world
  const currentConcurrency = async () => ({
    limit: (await store.concurrencyLimit())?.concurrency ?? null,
    gauge: await world.gauge('rushes_concurrency_limit'),
    ready: (await world.ready()).concurrency ?? null,
  })
  expect(await currentConcurrency()).toEqual({ limit: null, gauge: 4, ready: null })

  const jobs: { id: string }[] = []
  for (let n = 0; n < 3; n++) jobs.push(await world.submit('sim:seconds=60'))
  for (const { id } of jobs) await world.untilStatus(id, 'CREATED', 'PROCESSING')
  isThrottled = true
  jobs.push(await world.submit('sim:seconds=60'))
  await world.untilCircuitOpen()
  expect(await currentConcurrency()).toEqual({ limit: 2, gauge: 2, ready: 2 })

  isThrottled = false
  while (jobs.length < 10) jobs.push(await world.submit('sim:seconds=60'))
  world.advanceClock(MINUTE + SECOND)
  // Three exceed two.
  await until(async () => (await store.submitCircuit())?.halfOpen)
  await world.untilSubmitterClaimed()
  expect(world.submits()).toHaveLength(4)
  expect(await world.circuitReport()).toEqual({
    reason: 'throttled',
    submits: { state: 'half-open', reason: 'throttled' },
    metrics: [],
  })

  const waves = []
  for (const more of [3, 4]) {
    const sent = world.submits().length
    gateway.simulator?.advance(61 * SECOND)
    world.advanceClock(61 * SECOND)
    await until(() => world.submits().length >= sent + more)
    const isAccepted = async () =>
      (await Promise.all(jobs.map(({ id }) => world.read(id)))).filter(
        ({ upstreamId }) => upstreamId !== null,
      ).length
    await until(async () => (await isAccepted()) === sent + more - 1)
    await world.untilSubmitterClaimed()
    waves.push([world.submits().length - sent, await currentConcurrency()])
  }
  expect(waves).toEqual([
    [3, { limit: 3, gauge: 3, ready: 3 }],
    [4, { limit: null, gauge: 4, ready: null }],
  ])
  gateway.simulator?.advance(61 * SECOND)
  for (const { id } of jobs) await world.fastForwardToStatus(id, 'COMPLETED')
  expect(world.submits()).toHaveLength(jobs.length + 1)
})

/**
 * Each 429 of the sixteen would halve the limit anew, to one. At one, 120 submits must be accepted before all sixteen
 * slots are back.
 */
test('the 429s that answer one burst lower the concurrency limit once, not sixteen times', async () => {
  let isThrottled = true
  await using world = await open({
    env: { UPSTREAM_CONCURRENCY: '16' },
    fault: call => (isSubmit(call) && isThrottled ? refusal(429) : null),
  })
  await world.withoutSubmitter(async () => {
    for (let n = 0; n < 16; n++) await world.submit('sim:seconds=60')
    await until(async () => (await world.claimableCount()) === 16)
  })
  await until(() => world.log.filter(line => /submit circuit open/.test(line.message)).length === 16)
  isThrottled = false
  expect((await world.store.concurrencyLimit())?.concurrency).toBe(8)
})

test('with upstream down polls fall to one at a time after growing waits, however many jobs are in flight, and recover', async () => {
  let down = false
  await using world = await open({ fault: call => (down && isPoll(call) ? refusal(503) : null) })
  const JOBS = 40
  const jobs = await Promise.all(Array.from({ length: JOBS }, () => world.submit('sim:seconds=600')))
  for (const { id } of jobs) await world.untilStatus(id, 'CREATED', 'PROCESSING')
  expect([await world.gauge('rushes_poll_circuit_open'), (await world.ready()).reads]).toEqual([0, 'on'])

  down = true
  await until(async () => (await world.ready()).reads === 'failing')
  const opened = world.now()
  expect(await world.gauge('rushes_poll_circuit_open')).toBe(1)
  // Polls that were in flight when the circuit opened may still arrive.
  const pollsAfter = (at: number) => world.polls().filter(poll => poll.at > at + 300)
  await until(() => pollsAfter(opened).length > 0)
  const tried = pollsAfter(opened)[0]!.at
  expect(tried - opened).toBeGreaterThan(800)
  const before = world.polls().length
  expect((await world.ready()).reads).toBe('failing')
  down = false
  await until(async () => (await world.ready()).reads === 'on')
  expect(await world.gauge('rushes_poll_circuit_open')).toBe(0)
  expect(world.polls()[before]!.at - tried).toBeGreaterThan(1800)

  // Now every job is polled again, and none was lost.
  const pollsBefore = world.polls().length
  await until(
    () =>
      new Set(
        world
          .polls()
          .slice(pollsBefore)
          .map(poll => poll.path),
      ).size === JOBS,
  )
  world.gateway.simulator?.advance(600 * SECOND)
  for (const { id } of jobs) await world.fastForwardToStatus(id, 'COMPLETED')
  expect(world.submits()).toHaveLength(JOBS)
  expect(world.log.filter(line => /polling one job at a time/.test(line.message))).toHaveLength(1)
})
