import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { PREDICTION_ERRORS } from '../src/errors.ts'
import { type Filter, matches } from '../src/filter.ts'
import {
  type AppId,
  abandoned,
  answered,
  type Change,
  type Decide,
  isFinal,
  isLegal,
  type Job,
  type Observation,
  observed,
  pauseOn,
  postponed,
  STATUSES,
  type Status,
  SUBMISSIONS,
  type Submission,
  type SubmitOutcome,
} from '../src/prediction.ts'
import { draft, PRICE } from './support/store.ts'

const DAY = 24 * 60 * 60 * 1000
/** Created, sent, now, and the next look: each told from the others. */
const CREATED = 1_800_000_000_000
const BEGUN = CREATED + 1000
const NOW = CREATED + 60_000
const NEXT = CREATED + 75_000

const job = (over: Partial<Job> = {}): Job => ({
  id: '018f0000-0000-7000-8000-000000000000',
  ...draft('app' as AppId),
  createdAt: CREATED,
  status: 'QUEUED',
  outputs: [],
  error: null,
  upstreamId: null,
  submittedAt: null,
  startedAt: null,
  finishedAt: null,
  updatedAt: CREATED,
  inferenceMs: null,
  submission: 'none',
  fence: 0,
  attempts: 0,
  dueAt: CREATED,
  begunAt: null,
  emptySince: null,
  ...over,
})

const begun = job({ submission: 'begun', begunAt: BEGUN, attempts: 1, fence: 1 })
const sent = (status: Status, over: Partial<Job> = {}): Job =>
  job({ ...begun, submission: 'accepted', upstreamId: 'u', submittedAt: BEGUN, status, ...over })

/** As the store does it. */
const apply = (to: Job, { pause: _, ...fields }: Change): Job => ({ ...to, ...fields })

const clip = (n: number, hasNsfwContent: boolean | null = null) => ({
  url: `https://videos.example/${n}.mp4`,
  hasNsfwContent,
})
const EMPTY: Observation = { status: 'completed', outputs: [], inferenceMs: 7 }
const COMPLETED: Observation = {
  status: 'completed',
  outputs: [clip(1, true), clip(2), clip(3, false)],
  inferenceMs: 900,
}
const WAITING: Observation = { status: 'waiting' }
const PROCESSING: Observation = { status: 'processing' }
const CANCELED: Observation = { status: 'canceled' }
const failed = (error: (typeof PREDICTION_ERRORS)[number]): Observation => ({
  status: 'failed',
  error,
  inferenceMs: 12,
})
const FAILED = failed('GENERATION_FAILED')

const OUTCOMES: readonly SubmitOutcome[] = [
  { kind: 'accepted', upstreamId: 'u' },
  { kind: 'unsent' },
  { kind: 'rejected' },
  { kind: 'account' },
  { kind: 'throttled', retryAfterMs: null },
  { kind: 'throttled', retryAfterMs: 5000 },
  { kind: 'unknown' },
]
const OBSERVATIONS: readonly Observation[] = [WAITING, PROCESSING, EMPTY, COMPLETED, FAILED, CANCELED]

const UNKNOWN: Change = {
  status: 'FAILED',
  error: 'SUBMISSION_UNKNOWN',
  submission: 'unknown',
  submittedAt: BEGUN,
  finishedAt: NOW,
  pause: { reason: 'unknown', until: NOW },
}

describe('statuses', () => {
  test('the final ones are COMPLETED, FAILED and CANCELED, and nothing leads out of them', () => {
    expect(STATUSES.filter(isFinal)).toEqual(['COMPLETED', 'FAILED', 'CANCELED'])
    for (const from of STATUSES.filter(isFinal))
      for (const to of STATUSES) expect(isLegal(from, to)).toBe(false)
  })

  test('a step is legal exactly if it leads further', () => {
    const rank: Record<Status, number> = {
      QUEUED: 0,
      CREATED: 1,
      PROCESSING: 2,
      COMPLETED: 3,
      FAILED: 3,
      CANCELED: 3,
    }
    for (const from of STATUSES)
      for (const to of STATUSES) expect(isLegal(from, to), `${from} → ${to}`).toBe(rank[to] > rank[from])
  })
})

describe("the POST's answer", () => {
  test.each<[string, SubmitOutcome, Change]>([
    [
      'accepted: upstream has it, under its id, since the POST was begun',
      { kind: 'accepted', upstreamId: 'u' },
      {
        status: 'CREATED',
        submission: 'accepted',
        upstreamId: 'u',
        submittedAt: BEGUN,
        dueAt: NEXT,
        pause: null,
      },
    ],
    [
      'rejected: it ends, and costs nothing',
      { kind: 'rejected' },
      {
        status: 'FAILED',
        error: 'INVALID_INPUT',
        submission: 'none',
        submittedAt: BEGUN,
        finishedAt: NOW,
        cost: 0,
        pause: null,
      },
    ],
    [
      'unsent: back into the queue, and a look at upstream in a second',
      { kind: 'unsent' },
      { submission: 'none', begunAt: null, dueAt: NOW, pause: { reason: 'unreachable', until: NOW + 1000 } },
    ],
    [
      'account: back into the queue until the operator has acted',
      { kind: 'account' },
      { submission: 'none', dueAt: NOW, pause: { reason: 'account', until: NOW + 60_000 } },
    ],
    [
      'throttled: back into the queue for as long as upstream says',
      { kind: 'throttled', retryAfterMs: 5000 },
      { submission: 'none', dueAt: NOW, pause: { reason: 'throttled', until: NOW + 5000 } },
    ],
    [
      'throttled without a word how long: for a minute',
      { kind: 'throttled', retryAfterMs: null },
      { submission: 'none', dueAt: NOW, pause: { reason: 'throttled', until: NOW + 60_000 } },
    ],
    ['unknown: it ends, its cost stays, and nothing more is sent', { kind: 'unknown' }, UNKNOWN],
  ])('%s', (_, outcome, change) => {
    expect(answered(outcome, NOW, NEXT)(begun)).toEqual(change)
  })

  test.each(SUBMISSIONS.filter(submission => submission !== 'begun'))(
    'is no news to a row whose submission is %s',
    submission => {
      for (const outcome of OUTCOMES)
        for (const status of STATUSES)
          expect(answered(outcome, NOW, NEXT)(job({ ...begun, submission, status }))).toBeNull()
    },
  )

  test('comes once: the second is no news, whatever the first one was', () => {
    for (const first of OUTCOMES)
      for (const second of OUTCOMES) {
        const after = apply(begun, answered(first, NOW, NEXT)(begun)!)
        expect(answered(second, NOW, NEXT)(after)).toBeNull()
      }
  })

  test('what goes back into the queue stays QUEUED and keeps its price', () => {
    for (const outcome of OUTCOMES.filter(({ kind }) => ['unsent', 'account', 'throttled'].includes(kind)))
      expect(apply(begun, answered(outcome, NOW, NEXT)(begun)!)).toMatchObject({
        status: 'QUEUED',
        submission: 'none',
        submittedAt: null,
        finishedAt: null,
        error: null,
        cost: PRICE,
      })
  })
})

describe('a row whose claimant died', () => {
  test('ends as unknown, for its POST may have been sent', () => {
    expect(abandoned(NOW)(begun)).toEqual(UNKNOWN)
  })

  test.each(SUBMISSIONS.filter(submission => submission !== 'begun'))(
    'is none whose submission is %s',
    submission => {
      for (const status of STATUSES) expect(abandoned(NOW)(job({ ...begun, submission, status }))).toBeNull()
    },
  )
})

describe('a look', () => {
  const look = (seen: Observation, at: Job) => observed(seen, NOW, NEXT)(at)
  const again = { dueAt: NEXT }

  test.each<[Observation, Status, Change]>([
    [WAITING, 'CREATED', again],
    [WAITING, 'PROCESSING', again],
    [PROCESSING, 'CREATED', { status: 'PROCESSING', startedAt: NOW, dueAt: NEXT }],
    [PROCESSING, 'PROCESSING', again],
    [EMPTY, 'CREATED', { emptySince: NOW, dueAt: NEXT }],
    [EMPTY, 'PROCESSING', { emptySince: NOW, dueAt: NEXT }],
    [CANCELED, 'CREATED', { status: 'CANCELED', finishedAt: NOW }],
    [CANCELED, 'PROCESSING', { status: 'CANCELED', finishedAt: NOW }],
    ...(['CREATED', 'PROCESSING'] as const).flatMap((status): [Observation, Status, Change][] => [
      [
        COMPLETED,
        status,
        {
          status: 'COMPLETED',
          outputs: [clip(1, true), clip(2), clip(3, false)].map(output => ({
            ...output,
            expiresAt: NOW + 7 * DAY,
          })),
          inferenceMs: 900,
          finishedAt: NOW,
        },
      ],
      [
        FAILED,
        status,
        { status: 'FAILED', error: 'GENERATION_FAILED', inferenceMs: 12, finishedAt: NOW, cost: 0 },
      ],
    ]),
  ])('that shows $status to a job that is %s', (seen, status, change) => {
    expect(look(seen, sent(status))).toEqual(change)
  })

  test('that shows an end tells nothing to a job that has ended', () => {
    for (const status of STATUSES.filter(isFinal))
      for (const seen of OBSERVATIONS) {
        expect(look(seen, sent(status)), `${seen.status} after ${status}`).toBeNull()
        expect(look(seen, sent(status, { emptySince: BEGUN }))).toBeNull()
      }
  })

  test.each(SUBMISSIONS.filter(submission => submission !== 'accepted'))(
    'tells nothing of a job whose submission is %s',
    submission => {
      for (const status of STATUSES)
        for (const seen of OBSERVATIONS) expect(look(seen, sent(status, { submission }))).toBeNull()
    },
  )

  test('a job goes from CREATED to its end without PROCESSING, if no look found it there', () => {
    expect(apply(sent('CREATED'), look(COMPLETED, sent('CREATED'))!)).toMatchObject({
      status: 'COMPLETED',
      startedAt: null,
    })
  })

  test('completed without an output is looked at once more, and only then NO_OUTPUT', () => {
    for (const status of ['CREATED', 'PROCESSING'] as const) {
      const once = apply(sent(status), look(EMPTY, sent(status))!)
      expect(once).toMatchObject({ status, emptySince: NOW, finishedAt: null })
      const later = observed(EMPTY, NEXT, NEXT + 1)
      expect(later(once)).toEqual({ status: 'FAILED', error: 'NO_OUTPUT', finishedAt: NEXT, inferenceMs: 7 })
    }
  })

  test('an output that comes late is an output', () => {
    const once = apply(sent('PROCESSING'), look(EMPTY, sent('PROCESSING'))!)
    expect(look(COMPLETED, once)).toMatchObject({ status: 'COMPLETED', finishedAt: NOW })
  })

  test('that failed says nothing of the job: it is looked at again', () => {
    for (const status of STATUSES)
      for (const submission of SUBMISSIONS) {
        const isRunning = submission === 'accepted' && !isFinal(status)
        expect(postponed(NEXT)(sent(status, { submission }))).toEqual(isRunning ? again : null)
      }
  })
})

describe('cost', () => {
  const costAfter = (decide: Decide, at: Job) => apply(at, decide(at)!).cost
  const seen = (observation: Observation) => observed(observation, NOW, NEXT)

  test.each<[string, number, Decide, Job]>([
    ['accepted keeps the price', PRICE, answered({ kind: 'accepted', upstreamId: 'u' }, NOW, NEXT), begun],
    ['rejected is free', 0, answered({ kind: 'rejected' }, NOW, NEXT), begun],
    ['SUBMISSION_UNKNOWN keeps the price', PRICE, answered({ kind: 'unknown' }, NOW, NEXT), begun],
    ['SUBMISSION_UNKNOWN of a dead claimant keeps the price', PRICE, abandoned(NOW), begun],
    ['COMPLETED keeps the price', PRICE, seen(COMPLETED), sent('PROCESSING')],
    ['NO_OUTPUT keeps the price', PRICE, seen(EMPTY), sent('PROCESSING', { emptySince: BEGUN })],
    ['a cancel after sending keeps the price', PRICE, seen(CANCELED), sent('PROCESSING')],
    ...PREDICTION_ERRORS.map((error): [string, number, Decide, Job] => [
      `upstream reports ${error}`,
      error === 'TIMED_OUT' ? PRICE : 0,
      seen(failed(error)),
      sent('PROCESSING'),
    ]),
  ])('%s', (_, cost, decide, at) => {
    expect(costAfter(decide, at)).toBe(cost)
  })
})

test('news in any order leads over legal steps to one end, and never out of it', () => {
  const moment = fc.integer({ min: NOW, max: NOW + DAY })
  // Half of the POSTs are accepted, else hardly a stream would come to its later steps.
  const outcome: fc.Arbitrary<SubmitOutcome> = fc.oneof(
    fc.constant(OUTCOMES[0]!),
    fc.constantFrom(...OUTCOMES),
  )
  const observation: fc.Arbitrary<Observation> = fc.oneof(
    fc.constantFrom(...OBSERVATIONS),
    fc.constantFrom(...PREDICTION_ERRORS).map(failed),
  )
  /** What a claim does to a row that waits. */
  const begin: Decide = ({ status, submission }) =>
    status === 'QUEUED' && submission === 'none' ? { submission: 'begun' } : null
  const news: fc.Arbitrary<Decide> = fc.oneof(
    { weight: 2, arbitrary: fc.constant(begin) },
    { weight: 2, arbitrary: fc.tuple(outcome, moment).map(([o, at]) => answered(o, at, at + 1)) },
    { weight: 3, arbitrary: fc.tuple(observation, moment).map(([o, at]) => observed(o, at, at + 1)) },
    { weight: 1, arbitrary: moment.map(abandoned) },
    { weight: 1, arbitrary: moment.map(postponed) },
  )
  const reached = new Set<Status>()
  fc.assert(
    fc.property(fc.array(news, { minLength: 15, maxLength: 30 }), stream => {
      let now = job()
      const submissions: Submission[] = [now.submission]
      for (const decide of stream) {
        const change = decide(Object.freeze(now))
        if (change === null) continue
        expect(isFinal(now.status)).toBe(false)
        const next = { ...apply(now, change), ...(decide === begin && { begunAt: BEGUN }) }
        if (next.status !== now.status) expect(isLegal(now.status, next.status)).toBe(true)
        now = next
        submissions.push(now.submission)
        reached.add(now.status)
        // What the contract says of every prediction at every moment.
        expect(now.error !== null).toBe(now.status === 'FAILED')
        expect(now.outputs.length > 0).toBe(now.status === 'COMPLETED')
        expect(now.finishedAt !== null).toBe(isFinal(now.status))
        expect(now.status === 'CREATED' || now.status === 'PROCESSING').toBe(
          now.submission === 'accepted' && !isFinal(now.status),
        )
        expect(now.upstreamId !== null).toBe(now.submission === 'accepted')
        expect(now.cost === PRICE || now.status === 'FAILED').toBe(true)
      }
      // Once accepted or unknown, it is never sent again.
      const settled = submissions.findIndex(
        submission => submission === 'accepted' || submission === 'unknown',
      )
      if (settled !== -1) expect(new Set(submissions.slice(settled)).size).toBe(1)
    }),
    { numRuns: 1000 },
  )
  expect(reached).toEqual(new Set(STATUSES))
})

describe('a filter', () => {
  const p = job({ id: 'a', status: 'FAILED', tags: ['red', 'blue'], createdAt: CREATED })
  test.each<[string, Filter, boolean]>([
    ['without a field lets everything through', {}, true],
    ['ids: one of them', { ids: ['b', 'a'] }, true],
    ['ids: none of them', { ids: ['b', 'A'] }, false],
    ['ids: an empty list', { ids: [] }, false],
    ['statuses: one of them', { statuses: ['QUEUED', 'FAILED'] }, true],
    ['statuses: none of them', { statuses: ['QUEUED'] }, false],
    ['statuses: an empty list', { statuses: [] }, false],
    ['models: one of them', { models: ['WAN_2_2_I2V_PLUS_1080P'] }, true],
    ['models: none of them', { models: ['WAN_2_2_I2V_PLUS_480P'] }, false],
    ['models: an empty list', { models: [] }, false],
    ['tags: any one is enough', { tags: ['green', 'blue'] }, true],
    ['tags: none of them', { tags: ['green'] }, false],
    ['tags: a part of one', { tags: ['re'] }, false],
    ['tags: an empty list', { tags: [] }, false],
    ['createdAfter: strictly', { createdAfter: CREATED }, false],
    ['createdAfter: a millisecond earlier', { createdAfter: CREATED - 1 }, true],
    ['createdBefore: strictly', { createdBefore: CREATED }, false],
    ['createdBefore: a millisecond later', { createdBefore: CREATED + 1 }, true],
    ['fields are joined by "and"', { ids: ['a'], statuses: ['QUEUED'] }, false],
    ['all fields at once', { ids: ['a'], statuses: ['FAILED'], tags: ['red'], createdAfter: 0 }, true],
    ['a field that is undefined is no field', { ids: undefined, tags: undefined }, true],
  ])('%s', (_, filter, through) => {
    expect(matches(filter, p)).toBe(through)
  })

  test('asking for tags, it lets nothing through that has none', () => {
    expect(matches({ tags: ['red'] }, job())).toBe(false)
  })
})

test('a wait after failed trials ends at a quarter of an hour, and never before upstream said', () => {
  const standing = {
    reason: 'unknown',
    until: 0,
    since: 0,
    version: 1,
    trial: true,
    trialOf: null,
    failures: 40,
  } as const
  expect(pauseOn(standing, { reason: 'unknown', until: NOW }, NOW).until).toBe(NOW + 15 * 60_000)
  expect(pauseOn(standing, { reason: 'throttled', until: NOW + 3_600_000 }, NOW).until).toBe(NOW + 3_600_000)
})
