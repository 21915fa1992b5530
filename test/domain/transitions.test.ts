import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { PREDICTION_ERRORS, type PredictionErrorCode } from '../../src/domain/errors.ts'
import {
  type Change,
  type Decide,
  isFinal,
  isLegal,
  type Job,
  type Observation,
  STATUSES,
  type Status,
  type SubmitOutcome,
} from '../../src/domain/prediction.ts'
import {
  abandoned,
  accepted,
  announced,
  answered,
  canceled,
  imageMissed,
  imageRefused,
  imageSeen,
  imageUntried,
  isLastTry,
  type Look,
  missed,
  observed,
  UPSTREAM_MEMORY,
  unfound,
} from '../../src/domain/transitions.ts'
import { fresh, HOUR, MINUTE, PRICE, SECOND, T } from '../support/store.ts'

const DAY = 24 * HOUR
/** Created, sent, now, and the next look: each told from the others. */
const CREATED = T
const BEGUN = CREATED + SECOND
const NOW = CREATED + MINUTE
const NEXT = CREATED + 75 * SECOND

const waiting: Job = {
  ...fresh(),
  submission: 'none',
  following: null,
  fence: 3,
  attempts: 0,
  dueAt: CREATED,
  imageSeenAt: null,
  imageTries: 0,
  handedUrl: null,
  begunAt: null,
  runningAt: null,
  emptySince: null,
}
const begun: Job = { ...waiting, submission: 'begun', begunAt: BEGUN, attempts: 1 }
const unknown: Job = { ...begun, submission: 'unknown', following: 'closely' }
const created: Job = {
  ...begun,
  status: 'CREATED',
  submission: 'accepted',
  following: 'closely',
  upstreamId: 'u',
  submittedAt: BEGUN,
}
const ended = (status: Status, error: PredictionErrorCode | null = null): Partial<Job> => ({
  status,
  error,
  finishedAt: BEGUN + 9 * SECOND,
})
const UNKNOWN = { ...ended('FAILED', 'SUBMISSION_UNKNOWN'), submittedAt: BEGUN }
const TIMED_OUT = ended('FAILED', 'TIMED_OUT')

/** Every standing that a row can have. */
const STATES = {
  waiting,
  refused: { ...waiting, begunAt: BEGUN, attempts: 1 },
  'never sent, CANCELED': { ...waiting, ...ended('CANCELED'), cost: 0 },
  'never sent, FAILED': { ...waiting, ...ended('FAILED', 'IMAGE_UNREACHABLE'), cost: 0 },
  'refused, CANCELED': { ...waiting, ...ended('CANCELED'), cost: 0, begunAt: BEGUN },
  rejected: { ...waiting, ...ended('FAILED', 'INVALID_INPUT'), cost: 0, begunAt: BEGUN, submittedAt: BEGUN },
  begun,
  'begun, CANCELED': { ...begun, ...ended('CANCELED') },
  unknown,
  'unknown, CANCELED': { ...unknown, ...ended('CANCELED') },
  'unknown, FAILED': { ...unknown, ...UNKNOWN },
  'unknown, CANCELED, forgotten': { ...unknown, ...ended('CANCELED'), following: null },
  'unknown, FAILED, forgotten': { ...unknown, ...UNKNOWN, following: null },
  created,
  processing: { ...created, status: 'PROCESSING', startedAt: BEGUN },
  'accepted, CANCELED': { ...created, ...ended('CANCELED') },
  'accepted late, SUBMISSION_UNKNOWN': { ...created, ...UNKNOWN },
  'TIMED_OUT, late': { ...created, ...TIMED_OUT, following: 'late' },
  'CANCELED, late': { ...created, ...ended('CANCELED'), following: 'late' },
  'SUBMISSION_UNKNOWN, late': { ...created, ...UNKNOWN, following: 'late' },
  'TIMED_OUT, forgotten': { ...created, ...TIMED_OUT, following: null },
  COMPLETED: { ...created, ...ended('COMPLETED'), following: null },
  FAILED: { ...created, ...ended('FAILED', 'GENERATION_FAILED'), cost: 0, following: null },
  CANCELED: { ...created, ...ended('CANCELED'), following: null },
} as const satisfies Record<string, Job>
type State = keyof typeof STATES
const NAMES = Object.keys(STATES) as State[]

/** What it makes of each state; of all that are not named it makes nothing. */
function expectNews(decide: Decide, news: Partial<Record<State, Change>>): void {
  const made = NAMES.map(name => [name, decide(Object.freeze({ ...STATES[name] }))] as const)
  expect(Object.fromEntries(made.filter(([, change]) => change !== null))).toEqual(news)
}
const same = (names: readonly State[], change: Change) =>
  Object.fromEntries(names.map(name => [name, change]))

/** As the store does it. */
const apply = (job: Job, { pause: _, ...fields }: Change): Job => ({ ...job, ...fields })

const WAITING: readonly State[] = ['waiting', 'refused']
const IN_FLIGHT: readonly State[] = [
  'created',
  'processing',
  'accepted, CANCELED',
  'accepted late, SUBMISSION_UNKNOWN',
]
const LATE: readonly State[] = ['TIMED_OUT, late', 'CANCELED, late', 'SUBMISSION_UNKNOWN, late']
const SOUGHT: readonly State[] = ['unknown', 'unknown, CANCELED', 'unknown, FAILED']
const AWAITED: readonly State[] = ['begun', 'begun, CANCELED', ...SOUGHT]

const clip = (n: number, hasNsfwContent: boolean | null = null) => ({
  url: `https://videos.example/${n}.mp4`,
  hasNsfwContent,
})
const CLIPS = [clip(1, true), clip(2), clip(3, false)]
/** From when it was last seen at work, or sent: it may have ended just then. */
const OUTPUTS = CLIPS.map(output => ({ ...output, expiresAt: BEGUN + 7 * DAY }))
const COMPLETED: Observation = { status: 'completed', outputs: CLIPS, inferenceMs: 900 }
const EMPTY: Observation = { status: 'completed', outputs: [], inferenceMs: 7 }
const failed = (error: PredictionErrorCode): Observation => ({ status: 'failed', error, inferenceMs: 12 })

describe('a look at its image', () => {
  const END = { status: 'FAILED', finishedAt: NOW, cost: 0 } as const

  test('that shows one makes a row that waits ready, and nothing else', () => {
    expectNews(imageSeen(NOW), same(WAITING, { imageSeenAt: NOW, imageTries: 0, dueAt: NOW }))
  })

  test('that shows none ends it as INVALID_INPUT, unsent and free', () => {
    expectNews(imageRefused(NOW), same(WAITING, { ...END, error: 'INVALID_INPUT' }))
  })

  test('that failed is counted, and what was seen before is not seen any more', () => {
    expectNews(imageMissed(NOW, NEXT), same(WAITING, { imageSeenAt: null, imageTries: 1, dueAt: NEXT }))
  })

  test('that failed for the third time ends it as IMAGE_UNREACHABLE, unsent and free', () => {
    let job: Job = { ...waiting, imageSeenAt: BEGUN }
    for (const imageTries of [1, 2]) {
      expect(isLastTry(job)).toBe(false)
      job = apply(job, imageMissed(NOW, NEXT)(job)!)
      expect(job).toMatchObject({ status: 'QUEUED', imageTries, dueAt: NEXT })
    }
    expect(isLastTry(job)).toBe(true)
    expect(imageMissed(NOW, NEXT)(job)).toEqual({ ...END, error: 'IMAGE_UNREACHABLE', imageTries: 3 })
  })

  test('that shows one forgets the tries before', () => {
    const tried = { ...waiting, imageTries: 2 }
    expect(isLastTry(apply(tried, imageSeen(NOW)(tried)!))).toBe(false)
  })

  test('that could not be tried is repeated, and counts for nothing', () => {
    expectNews(imageUntried(NEXT), same(WAITING, { dueAt: NEXT }))
  })
})

const ACCEPTED: Change = {
  submission: 'accepted',
  following: 'closely',
  upstreamId: 'x',
  submittedAt: BEGUN,
  dueAt: NEXT,
  pause: null,
}
const SOUGHT_FOR: Change = {
  submission: 'unknown',
  following: 'closely',
  dueAt: NEXT,
  pause: { reason: 'unknown', until: NOW },
}
const UNREACHABLE = { reason: 'unreachable', until: NOW + SECOND } as const
const OUTCOMES: readonly SubmitOutcome[] = [
  { kind: 'accepted', upstreamId: 'x' },
  { kind: 'unsent' },
  { kind: 'rejected' },
  { kind: 'account' },
  { kind: 'throttled', retryAfterMs: null },
  { kind: 'throttled', retryAfterMs: 5 * SECOND },
  { kind: 'unknown' },
]

describe("the POST's answer", () => {
  /** To a row whose app still waits, and to one that was canceled meanwhile. */
  test.each<[string, SubmitOutcome, Change, Change]>([
    [
      'accepted: upstream has it, under its id, since the POST was begun',
      { kind: 'accepted', upstreamId: 'x' },
      { ...ACCEPTED, status: 'CREATED' },
      ACCEPTED,
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
      { submission: 'none', cost: 0, pause: null },
    ],
    [
      'unsent: back into the queue, and a look at upstream in a second',
      { kind: 'unsent' },
      { submission: 'none', begunAt: null, dueAt: NOW, pause: UNREACHABLE },
      { submission: 'none', begunAt: null, cost: 0, pause: UNREACHABLE },
    ],
    [
      'account: back into the queue until the operator has acted',
      { kind: 'account' },
      { submission: 'none', dueAt: NOW, pause: { reason: 'account', until: NOW + MINUTE } },
      { submission: 'none', cost: 0, pause: { reason: 'account', until: NOW + MINUTE } },
    ],
    [
      'throttled: back into the queue for as long as upstream says',
      { kind: 'throttled', retryAfterMs: 5 * SECOND },
      { submission: 'none', dueAt: NOW, pause: { reason: 'throttled', until: NOW + 5 * SECOND } },
      { submission: 'none', cost: 0, pause: { reason: 'throttled', until: NOW + 5 * SECOND } },
    ],
    [
      'throttled without a word how long: for a minute',
      { kind: 'throttled', retryAfterMs: null },
      { submission: 'none', dueAt: NOW, pause: { reason: 'throttled', until: NOW + MINUTE } },
      { submission: 'none', cost: 0, pause: { reason: 'throttled', until: NOW + MINUTE } },
    ],
    [
      'unknown: it is looked for, its cost stays, and nothing more is sent',
      { kind: 'unknown' },
      SOUGHT_FOR,
      SOUGHT_FOR,
    ],
  ])('%s; no other state hears of it', (_, outcome, change, toCanceled) => {
    expectNews(answered(outcome, NOW, NEXT), { begun: change, 'begun, CANCELED': toCanceled })
  })

  test('comes once: the second is no news, whatever the first one was', () => {
    for (const job of [STATES.begun, STATES['begun, CANCELED']])
      for (const first of OUTCOMES)
        for (const second of OUTCOMES) {
          const after = apply(job, answered(first, NOW, NEXT)(job)!)
          expect(answered(second, NOW, NEXT)(after)).toBeNull()
        }
  })

  test('what goes back into the queue stays QUEUED and keeps its price', () => {
    for (const outcome of OUTCOMES.filter(({ kind }) => ['unsent', 'account', 'throttled'].includes(kind)))
      expect(apply(begun, answered(outcome, NOW, NEXT)(begun)!)).toMatchObject({
        ...{ status: 'QUEUED', submission: 'none', following: null },
        ...{ submittedAt: null, finishedAt: null, error: null, cost: PRICE },
      })
  })

  test('never makes a canceled job one that may be sent', () => {
    const job = STATES['begun, CANCELED']
    for (const outcome of OUTCOMES)
      expect(apply(job, answered(outcome, NOW, NEXT)(job)!)).toMatchObject({ status: 'CANCELED' })
  })
})

describe('a row whose claimant died', () => {
  test('is looked for, canceled or not, for its POST may have been sent; a row in any other state is none', () => {
    expectNews(abandoned(NOW, NEXT), { begun: SOUGHT_FOR, 'begun, CANCELED': SOUGHT_FOR })
  })
})

describe('a job found at upstream', () => {
  const found = accepted('x', NEXT)

  test('is followed from then on, since its POST; what has ended for its app stays ended', () => {
    expectNews(found, {
      begun: { ...ACCEPTED, status: 'CREATED' },
      'begun, CANCELED': ACCEPTED,
      unknown: { ...ACCEPTED, status: 'CREATED' },
      'unknown, CANCELED': ACCEPTED,
      'unknown, FAILED': ACCEPTED,
      'unknown, CANCELED, forgotten': ACCEPTED,
      'unknown, FAILED, forgotten': ACCEPTED,
    })
  })

  test('is found once', () => {
    for (const name of AWAITED) {
      const after = apply(STATES[name], found(STATES[name])!)
      expect(accepted('another', NEXT)(after)).toBeNull()
    }
  })
})

test('who finds the account in trouble for the third time rests, longer each time; nobody else does', () => {
  const restAfter = (outcome: SubmitOutcome, attempts: number) =>
    answered(outcome, NOW, NEXT)({ ...STATES.begun, attempts })!.dueAt! - NOW
  const rests = [1, 2, 3, 4, 5, 6, 7, 50].map(attempts => restAfter({ kind: 'account' }, attempts))
  expect(rests).toEqual([0, 0, 1, 2, 4, 8, 15, 15].map(minutes => minutes * MINUTE))
  for (const outcome of OUTCOMES.filter(({ kind }) => kind === 'unsent' || kind === 'throttled'))
    expect(restAfter(outcome, 50)).toBe(0)
})

describe('a search that found nothing', () => {
  const PATIENCE = 10 * MINUTE
  const search = (age: number, patienceMs = PATIENCE, isAbsent = false) =>
    unfound({ now: BEGUN + age, next: NEXT, patienceMs }, isAbsent)
  const FREED = { following: 'late', dueAt: NEXT } as const
  const told = (age: number): Change => ({
    status: 'FAILED',
    error: 'SUBMISSION_UNKNOWN',
    submittedAt: BEGUN,
    finishedAt: BEGUN + age,
  })

  test('is repeated; a row in any other state hears nothing of it', () => {
    expectNews(search(PATIENCE - 1), same(SOUGHT, { dueAt: NEXT }))
  })

  test('frees its place where a list read to its end has nothing that could be it', () => {
    expectNews(search(PATIENCE - 1, PATIENCE, true), same(SOUGHT, FREED))
  })

  test('is told as SUBMISSION_UNKNOWN after a while, once, frees its place and goes on; its cost stays', () => {
    expectNews(search(PATIENCE), {
      ...same(SOUGHT, FREED),
      unknown: { ...FREED, ...told(PATIENCE) },
    })
  })

  test('ends after seven days, whether its app was told or not', () => {
    expectNews(search(7 * DAY - 1, 0), {
      ...same(SOUGHT, FREED),
      unknown: { ...FREED, ...told(7 * DAY - 1) },
    })
    expectNews(search(7 * DAY), {
      ...same(SOUGHT, { following: null }),
      unknown: { following: null, ...told(7 * DAY) },
    })
  })
})

describe('a look', () => {
  const LOOK: Look = { now: NOW, next: NEXT, deadlineMs: HOUR, graceMs: 0 }
  const look = (seen: Observation, over: Partial<Look> = {}) => observed(seen, { ...LOOK, ...over })
  const followed = [...IN_FLIGHT, ...LATE]
  const ON = { runningAt: NOW, dueAt: NEXT }
  const OVER = { following: null }

  test('that finds it waiting is repeated, and says that it still ran', () => {
    expectNews(look({ status: 'waiting' }), same(followed, ON))
  })

  test('that finds it processing is told to a job that is CREATED', () => {
    expectNews(look({ status: 'processing' }), {
      ...same(followed, ON),
      created: { ...ON, status: 'PROCESSING', startedAt: NOW },
    })
  })

  /** Every field that an end decides. */
  const end = (over: Change): Change => ({
    ...{ error: null, outputs: [], finishedAt: NOW, inferenceMs: null, cost: PRICE, following: null },
    ...over,
  })
  const ends: (readonly [string, Observation, Change])[] = [
    ['COMPLETED', COMPLETED, end({ status: 'COMPLETED', outputs: OUTPUTS, inferenceMs: 900 })],
    ['CANCELED', { status: 'canceled' }, end({ status: 'CANCELED' })],
    ...PREDICTION_ERRORS.filter(error => error !== 'TIMED_OUT' && error !== 'SUBMISSION_UNKNOWN').map(
      error =>
        [
          `FAILED with ${error}`,
          failed(error),
          end({ status: 'FAILED', error, inferenceMs: 12, cost: 0 }),
        ] as const,
    ),
  ]
  test.each(ends)(
    'that finds it %s tells so, corrects what was guessed, and is the last one; what was canceled stays so',
    (_, seen, change) => {
      expectNews(look(seen), {
        ...same(followed, change),
        'accepted, CANCELED': OVER,
        'CANCELED, late': OVER,
      })
    },
  )

  test('that finds it timed out tells so where the gateway had not guessed it, and it may be charged', () => {
    const change = end({ status: 'FAILED', error: 'TIMED_OUT', inferenceMs: 12 })
    expectNews(look(failed('TIMED_OUT')), {
      ...same(followed, change),
      'accepted, CANCELED': OVER,
      'CANCELED, late': OVER,
      'TIMED_OUT, late': OVER,
    })
  })

  test('a correction is an end like any other, and whole', () => {
    for (const name of ['TIMED_OUT, late', 'SUBMISSION_UNKNOWN, late'] as const)
      for (const [, seen, change] of ends) {
        const job = STATES[name]
        const after = apply(job, look(seen)(job)!)
        expect(after).toMatchObject(change)
        expect(isLegal(job.status, after.status, job.error)).toBe(true)
        for (const again of [COMPLETED, EMPTY, failed('INVALID_INPUT')]) expect(look(again)(after)).toBeNull()
      }
  })

  test('a job goes from CREATED to its end without PROCESSING, if no look found it there', () => {
    const after = apply(created, look(COMPLETED)(created)!)
    expect(after).toMatchObject({ status: 'COMPLETED', startedAt: null })
  })

  test('completed without an output is looked at once more, and only then NO_OUTPUT', () => {
    expectNews(look(EMPTY), same(followed, { emptySince: NOW, dueAt: NEXT }))
    for (const name of followed) {
      const once = apply(STATES[name], look(EMPTY)(STATES[name])!)
      expect(once).toMatchObject({ status: STATES[name].status, following: STATES[name].following })
      const twice = observed(EMPTY, { ...LOOK, now: NEXT })(once)
      const ending = end({ status: 'FAILED', error: 'NO_OUTPUT', finishedAt: NEXT, inferenceMs: 7 })
      expect(twice).toEqual(once.status === 'CANCELED' ? OVER : ending)
    }
  })

  test('an output that comes late is an output', () => {
    const once = apply(created, look(EMPTY)(created)!)
    expect(look(COMPLETED)(once)).toMatchObject({ status: 'COMPLETED', outputs: OUTPUTS })
  })

  describe('past the deadline', () => {
    const at = BEGUN + HOUR
    const LATER = { following: 'late', dueAt: NEXT } as const
    const END: Change = { status: 'FAILED', error: 'TIMED_OUT', finishedAt: at }

    test('ends the job as TIMED_OUT, and gives its place up: it may be charged, and is still looked at', () => {
      for (const seen of [{ status: 'waiting' }, { status: 'processing' }] as const)
        expectNews(look(seen, { now: at }), {
          ...same(followed, { runningAt: at, dueAt: NEXT }),
          ...same(IN_FLIGHT, { ...LATER, runningAt: at }),
          ...same(['created', 'processing'], { ...LATER, ...END, runningAt: at }),
        })
    })

    test('a millisecond before it the job has its place and is not told', () => {
      expectNews(
        look({ status: 'waiting' }, { now: at - 1 }),
        same(followed, { runningAt: at - 1, dueAt: NEXT }),
      )
    })

    test('a look that shows an end is believed', () => {
      expect(look(COMPLETED, { now: at })(created)).toMatchObject({ status: 'COMPLETED', following: null })
    })
  })

  test('at what was given up ends after seven days, and nothing is told', () => {
    for (const decide of [
      look({ status: 'waiting' }, { now: BEGUN + 7 * DAY - 1 }),
      missed({ ...LOOK, now: BEGUN + 7 * DAY - 1 }, true),
    ])
      for (const name of LATE) expect(decide(STATES[name])).toMatchObject({ dueAt: NEXT })
    for (const decide of [
      look({ status: 'processing' }, { now: BEGUN + 7 * DAY }),
      missed({ ...LOOK, now: BEGUN + 7 * DAY }, false),
    ])
      for (const name of LATE) {
        const { runningAt: _, ...change } = decide(STATES[name])!
        expect(change).toEqual(OVER)
      }
    expect(UPSTREAM_MEMORY).toBe(7 * DAY)
  })

  test('that failed says nothing of the job: it is repeated', () => {
    for (const isAnswered of [true, false])
      expectNews(missed(LOOK, isAnswered), same(followed, { dueAt: NEXT }))
  })

  test('that failed ends a job past its deadline; where upstream could not be read at all, past twice of it', () => {
    const atAge = (age: number, isAnswered: boolean) =>
      missed({ ...LOOK, now: BEGUN + age }, isAnswered)(created)
    const given = { dueAt: NEXT }
    const over = (age: number) => ({
      ...{ following: 'late', dueAt: NEXT, status: 'FAILED', error: 'TIMED_OUT' },
      finishedAt: BEGUN + age,
    })
    expect(atAge(HOUR - 1, true)).toEqual(given)
    expect(atAge(HOUR, true)).toEqual(over(HOUR))
    expect(atAge(2 * HOUR - 1, false)).toEqual(given)
    expect(atAge(2 * HOUR, false)).toEqual(over(2 * HOUR))
  })
})

describe('a webhook', () => {
  const FOUND = { ...ACCEPTED, dueAt: NOW, runningAt: NOW }

  test('with the id that it is known by has it looked at now, and makes a look under way an old one', () => {
    const change = { dueAt: NOW, runningAt: NOW, fence: waiting.fence + 1 }
    const isUnknown = Object.fromEntries(
      NAMES.filter(name => ['begun', 'unknown'].includes(STATES[name].submission)).map(name => [
        name,
        expect.anything(),
      ]),
    )
    expectNews(announced('u', NOW), {
      ...isUnknown,
      refused: expect.anything(),
      ...same([...IN_FLIGHT, ...LATE], change),
    })
  })

  test('says under which id a row without one is known: begun, looked for, given up, or refused, so it was said', () => {
    expectNews(announced('x', NOW), {
      refused: { ...FOUND, status: 'CREATED' },
      begun: { ...FOUND, status: 'CREATED' },
      'begun, CANCELED': FOUND,
      unknown: { ...FOUND, status: 'CREATED' },
      'unknown, CANCELED': FOUND,
      'unknown, FAILED': FOUND,
      'unknown, CANCELED, forgotten': FOUND,
      'unknown, FAILED, forgotten': FOUND,
    })
  })

  test('decides no end: that is the look that follows', () => {
    for (const name of NAMES) {
      const change = announced('u', NOW)(STATES[name])
      if (change === null) continue
      expect(change.status ?? 'CREATED').toBe('CREATED')
      expect(isFinal(apply(STATES[name], change).status)).toBe(isFinal(STATES[name].status))
    }
  })

  test("before the POST's answer makes that one old news", () => {
    for (const name of ['begun', 'begun, CANCELED'] as const) {
      const after = apply(STATES[name], announced('x', NOW)(STATES[name])!)
      for (const outcome of OUTCOMES) expect(answered(outcome, NOW, NEXT)(after)).toBeNull()
      expect(abandoned(NOW, NEXT)(after)).toBeNull()
    }
  })
})

describe('a cancel', () => {
  const END: Change = { status: 'CANCELED', finishedAt: NOW }

  test('ends whatever has not ended: free while nothing is sent, and later with what it takes of the account', () => {
    expectNews(canceled(NOW), {
      ...same(WAITING, { ...END, cost: 0 }),
      ...same(['begun', 'unknown', 'created', 'processing'], END),
    })
  })

  test('is no news to what has ended, a guess too', () => {
    for (const name of NAMES) if (isFinal(STATES[name].status)) expect(canceled(NOW)(STATES[name])).toBeNull()
  })
})

describe('cost', () => {
  const seen = (observation: Observation) =>
    observed(observation, { now: NOW, next: NEXT, deadlineMs: HOUR, graceMs: 0 })
  const overdue = { now: BEGUN + HOUR, next: NEXT, deadlineMs: HOUR, graceMs: 0 }
  const given = (outcome: SubmitOutcome) => answered(outcome, NOW, NEXT)

  test.each<[string, number, Decide, State]>([
    ['accepted keeps the price', PRICE, given({ kind: 'accepted', upstreamId: 'u' }), 'begun'],
    ['rejected is free', 0, given({ kind: 'rejected' }), 'begun'],
    ['rejected is free after a cancel too', 0, given({ kind: 'rejected' }), 'begun, CANCELED'],
    ['a refusal keeps the price of what waits on', PRICE, given({ kind: 'account' }), 'begun'],
    ['a refusal makes a canceled one free', 0, given({ kind: 'account' }), 'begun, CANCELED'],
    ['no answer keeps the price', PRICE, given({ kind: 'unknown' }), 'begun'],
    ['no answer keeps the price of a canceled one', PRICE, given({ kind: 'unknown' }), 'begun, CANCELED'],
    ['a dead claimant keeps the price', PRICE, abandoned(NOW, NEXT), 'begun'],
    [
      'SUBMISSION_UNKNOWN keeps the price',
      PRICE,
      unfound({ now: NOW, next: NEXT, patienceMs: 0 }, false),
      'unknown',
    ],
    ['an image that is none is free', 0, imageRefused(NOW), 'waiting'],
    ['a cancel before sending is free', 0, canceled(NOW), 'waiting'],
    ['a cancel after a refusal is free', 0, canceled(NOW), 'refused'],
    ['a cancel while the POST is under way keeps the price', PRICE, canceled(NOW), 'begun'],
    ['a cancel while nobody knows keeps the price', PRICE, canceled(NOW), 'unknown'],
    ['a cancel after sending keeps the price', PRICE, canceled(NOW), 'processing'],
    ['COMPLETED keeps the price', PRICE, seen(COMPLETED), 'processing'],
    ['canceled by upstream keeps the price', PRICE, seen({ status: 'canceled' }), 'processing'],
    ["the gateway's own TIMED_OUT keeps the price", PRICE, missed(overdue, true), 'processing'],
    ...PREDICTION_ERRORS.map((error): [string, number, Decide, State] => [
      `upstream reports ${error}`,
      error === 'TIMED_OUT' ? PRICE : 0,
      seen(failed(error)),
      'processing',
    ]),
  ])('%s', (_, cost, decide, state) => {
    expect(apply(STATES[state], decide(STATES[state])!).cost).toBe(cost)
  })

  test('NO_OUTPUT keeps the price', () => {
    const job = { ...created, emptySince: BEGUN }
    expect(apply(job, seen(EMPTY)(job)!)).toMatchObject({ error: 'NO_OUTPUT', cost: PRICE })
  })
})

test('news in any order leads over legal steps to an end, and what was sent is never sent again', () => {
  const moment = fc.integer({ min: NOW, max: NOW + 9 * DAY })
  const observation: fc.Arbitrary<Observation> = fc.oneof(
    fc.constantFrom<Observation[]>({ status: 'waiting' }, { status: 'processing' }, { status: 'canceled' }),
    fc.constantFrom(COMPLETED, EMPTY),
    fc.constantFrom(...PREDICTION_ERRORS.filter(error => error !== 'SUBMISSION_UNKNOWN')).map(failed),
  )
  const look = moment.map((now): Look => ({ now, next: now + 1, deadlineMs: HOUR, graceMs: 0 }))
  /** What a claim does to a row that waits. */
  const begin: Decide = ({ status, submission }) =>
    status === 'QUEUED' && submission === 'none' ? { submission: 'begun' } : null
  const news: fc.Arbitrary<Decide> = fc.oneof(
    { weight: 3, arbitrary: fc.constant(begin) },
    // Half of the POSTs are accepted, else hardly a stream would come to its later steps.
    { weight: 2, arbitrary: moment.map(at => answered({ kind: 'accepted', upstreamId: 'x' }, at, at + 1)) },
    {
      weight: 2,
      arbitrary: fc
        .tuple(fc.constantFrom(...OUTCOMES), moment)
        .map(([outcome, at]) => answered(outcome, at, at + 1)),
    },
    { weight: 3, arbitrary: fc.tuple(observation, look).map(([seen, at]) => observed(seen, at)) },
    { weight: 1, arbitrary: fc.tuple(look, fc.boolean()).map(([at, isAnswered]) => missed(at, isAnswered)) },
    { weight: 1, arbitrary: moment.map(at => abandoned(at, at + 1)) },
    { weight: 1, arbitrary: moment.map(at => unfound({ now: at, next: at + 1, patienceMs: MINUTE }, false)) },
    { weight: 1, arbitrary: moment.map(at => announced('x', at)) },
    { weight: 1, arbitrary: moment.map(at => imageMissed(at, at + 1)) },
    { weight: 1, arbitrary: moment.map(canceled) },
  )
  const reached = new Set<string>()
  fc.assert(
    fc.property(fc.array(news, { minLength: 15, maxLength: 30 }), stream => {
      let now = waiting
      let mayRun = false
      for (const decide of stream) {
        const change = decide(Object.freeze(now))
        if (change === null) continue
        const next = { ...apply(now, change), ...(decide === begin && { begunAt: BEGUN }) }
        if (next.status !== now.status) expect(isLegal(now.status, next.status, now.error)).toBe(true)
        if (now.status === 'CANCELED')
          expect([next.status, next.error, next.finishedAt]).toEqual(['CANCELED', null, now.finishedAt])
        // Once accepted or unknown it is never in the queue again.
        mayRun ||= next.submission === 'accepted' || next.submission === 'unknown'
        if (mayRun) expect(['accepted', 'unknown']).toContain(next.submission)
        now = next
        reached.add(now.status).add(`${now.error}`)
        // What the contract says of every prediction at every moment.
        expect(now.error !== null).toBe(now.status === 'FAILED')
        expect(now.outputs.length > 0).toBe(now.status === 'COMPLETED')
        expect(now.finishedAt !== null).toBe(isFinal(now.status))
        expect(now.upstreamId !== null).toBe(now.submission === 'accepted')
        if (now.status === 'CREATED' || now.status === 'PROCESSING') expect(now.following).toBe('closely')
        // What is open has somebody who looks after it; what has no more to be known has nobody.
        if (now.submission === 'accepted' || now.submission === 'unknown')
          expect(isFinal(now.status) || now.following !== null).toBe(true)
        else expect(now.following).toBeNull()
        expect(now.cost === PRICE || isFinal(now.status)).toBe(true)
      }
    }),
    { numRuns: 3000 },
  )
  expect([...reached]).toEqual(
    expect.arrayContaining([...STATUSES, 'SUBMISSION_UNKNOWN', 'TIMED_OUT', 'NO_OUTPUT']),
  )
})
