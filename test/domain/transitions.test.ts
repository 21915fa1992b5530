import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { PREDICTION_ERROR_CODES, type PredictionErrorCode } from '../../src/domain/errors.ts'
import {
  isFinal,
  isLegalTransition,
  type Job,
  type Observation,
  STATUSES,
  type StateChange,
  type Status,
  type SubmitOutcome,
  type Transition,
} from '../../src/domain/prediction.ts'
import {
  canceled,
  imageCheckFailed,
  imageCheckPostponed,
  imageRejected,
  imageVerified,
  isLastImageCheck,
  notListedUpstream,
  type PollOptions,
  pollFailed,
  pollSucceeded,
  routinePollUpdate,
  submitAbandoned,
  submitAccepted,
  submitAnswered,
  UPSTREAM_RETENTION_MS,
  webhookReceived,
} from '../../src/domain/transitions.ts'
import { HOUR, MINUTE, newPrediction, PRICE, SECOND, T } from '../support/store.ts'

const DAY = 24 * HOUR
/** Created, submit started, now, next poll: four different times. */
const CREATED_AT = T
const SUBMIT_STARTED_AT = CREATED_AT + SECOND
const NOW = CREATED_AT + MINUTE
const NEXT_POLL_AT = CREATED_AT + 75 * SECOND

const queued: Job = {
  ...newPrediction(),
  submission: 'none',
  tracking: null,
  fence: 3,
  submitAttempts: 0,
  dueAt: CREATED_AT,
  imageVerifiedAt: null,
  imageCheckFailures: 0,
  upstreamImageUrl: null,
  submitStartedAt: null,
  lastSeenRunningAt: null,
  completedWithoutOutputSince: null,
}
const submitStarted: Job = {
  ...queued,
  submission: 'begun',
  submitStartedAt: SUBMIT_STARTED_AT,
  submitAttempts: 1,
}
const unknown: Job = { ...submitStarted, submission: 'unknown', tracking: 'active' }
const created: Job = {
  ...submitStarted,
  status: 'CREATED',
  submission: 'accepted',
  tracking: 'active',
  upstreamId: 'u',
  submittedAt: SUBMIT_STARTED_AT,
}
const ended = (status: Status, error: PredictionErrorCode | null = null): Partial<Job> => ({
  status,
  error,
  finishedAt: SUBMIT_STARTED_AT + 9 * SECOND,
})
const UNKNOWN = { ...ended('FAILED', 'SUBMISSION_UNKNOWN'), submittedAt: SUBMIT_STARTED_AT }
const TIMED_OUT = ended('FAILED', 'TIMED_OUT')

/** Every state that a row can have. */
const STATES = {
  waiting: queued,
  refused: { ...queued, submitStartedAt: SUBMIT_STARTED_AT, submitAttempts: 1 },
  'never sent, CANCELED': { ...queued, ...ended('CANCELED'), cost: 0 },
  'never sent, FAILED': { ...queued, ...ended('FAILED', 'IMAGE_UNREACHABLE'), cost: 0 },
  'refused, CANCELED': { ...queued, ...ended('CANCELED'), cost: 0, submitStartedAt: SUBMIT_STARTED_AT },
  rejected: {
    ...queued,
    ...ended('FAILED', 'INVALID_INPUT'),
    cost: 0,
    submitStartedAt: SUBMIT_STARTED_AT,
    submittedAt: SUBMIT_STARTED_AT,
  },
  begun: submitStarted,
  'begun, CANCELED': { ...submitStarted, ...ended('CANCELED') },
  unknown,
  'unknown, CANCELED': { ...unknown, ...ended('CANCELED') },
  'unknown, FAILED': { ...unknown, ...UNKNOWN },
  'unknown, CANCELED, untracked': { ...unknown, ...ended('CANCELED'), tracking: null },
  'unknown, FAILED, untracked': { ...unknown, ...UNKNOWN, tracking: null },
  created,
  processing: { ...created, status: 'PROCESSING', startedAt: SUBMIT_STARTED_AT },
  'accepted, CANCELED': { ...created, ...ended('CANCELED') },
  'accepted late, SUBMISSION_UNKNOWN': { ...created, ...UNKNOWN },
  'TIMED_OUT, expired': { ...created, ...TIMED_OUT, tracking: 'expired' },
  'CANCELED, expired': { ...created, ...ended('CANCELED'), tracking: 'expired' },
  'SUBMISSION_UNKNOWN, expired': { ...created, ...UNKNOWN, tracking: 'expired' },
  'TIMED_OUT, untracked': { ...created, ...TIMED_OUT, tracking: null },
  COMPLETED: { ...created, ...ended('COMPLETED'), tracking: null },
  FAILED: { ...created, ...ended('FAILED', 'GENERATION_FAILED'), cost: 0, tracking: null },
  CANCELED: { ...created, ...ended('CANCELED'), tracking: null },
} as const satisfies Record<string, Job>
type State = keyof typeof STATES
const NAMES = Object.keys(STATES) as State[]

/** Compares the change of each state; states that are not named must not change. */
function expectChanges(transition: Transition, expected: Partial<Record<State, StateChange>>): void {
  const actual = NAMES.map(name => [name, transition(Object.freeze({ ...STATES[name] }))] as const)
  expect(Object.fromEntries(actual.filter(([, change]) => change !== null))).toEqual(expected)
}
const forStates = (names: readonly State[], change: StateChange) =>
  Object.fromEntries(names.map(name => [name, change]))

/** Applies a change as the store does. */
const apply = (job: Job, { submitCircuit: _, ...fields }: StateChange): Job => ({ ...job, ...fields })

const QUEUED_STATES: readonly State[] = ['waiting', 'refused']
const IN_FLIGHT_STATES: readonly State[] = [
  'created',
  'processing',
  'accepted, CANCELED',
  'accepted late, SUBMISSION_UNKNOWN',
]
const EXPIRED_STATES: readonly State[] = [
  'TIMED_OUT, expired',
  'CANCELED, expired',
  'SUBMISSION_UNKNOWN, expired',
]
const UNRESOLVED_STATES: readonly State[] = ['unknown', 'unknown, CANCELED', 'unknown, FAILED']
const UNANSWERED_STATES: readonly State[] = ['begun', 'begun, CANCELED', ...UNRESOLVED_STATES]

const clip = (n: number, hasNsfwContent: boolean | null = null) => ({
  url: `https://videos.example/${n}.mp4`,
  hasNsfwContent,
})
const CLIPS = [clip(1, true), clip(2), clip(3, false)]
/** Expire seven days after the job was last seen running, or else sent: it may have ended right then. */
const OUTPUTS = CLIPS.map(output => ({ ...output, expiresAt: SUBMIT_STARTED_AT + 7 * DAY }))
const COMPLETED: Observation = { status: 'completed', outputs: CLIPS, inferenceMs: 900 }
const EMPTY: Observation = { status: 'completed', outputs: [], inferenceMs: 7 }
const failed = (error: PredictionErrorCode): Observation => ({ status: 'failed', error, inferenceMs: 12 })

describe('an image check', () => {
  const END = { status: 'FAILED', finishedAt: NOW, cost: 0 } as const

  test('that finds an image makes a queued row ready, and changes nothing else', () => {
    expectChanges(
      imageVerified(NOW),
      forStates(QUEUED_STATES, { imageVerifiedAt: NOW, imageCheckFailures: 0, dueAt: NOW }),
    )
  })

  test('that finds no image ends it as INVALID_INPUT, unsent and free', () => {
    expectChanges(imageRejected(NOW), forStates(QUEUED_STATES, { ...END, error: 'INVALID_INPUT' }))
  })

  test('that failed is counted, and an earlier verification no longer counts', () => {
    expectChanges(
      imageCheckFailed(NOW, NEXT_POLL_AT),
      forStates(QUEUED_STATES, { imageVerifiedAt: null, imageCheckFailures: 1, dueAt: NEXT_POLL_AT }),
    )
  })

  test('that failed three times ends it as IMAGE_UNREACHABLE, unsent and free', () => {
    let job: Job = { ...queued, imageVerifiedAt: SUBMIT_STARTED_AT }
    for (const imageCheckFailures of [1, 2]) {
      expect(isLastImageCheck(job)).toBe(false)
      job = apply(job, imageCheckFailed(NOW, NEXT_POLL_AT)(job)!)
      expect(job).toMatchObject({ status: 'QUEUED', imageCheckFailures, dueAt: NEXT_POLL_AT })
    }
    expect(isLastImageCheck(job)).toBe(true)
    expect(imageCheckFailed(NOW, NEXT_POLL_AT)(job)).toEqual({
      ...END,
      error: 'IMAGE_UNREACHABLE',
      imageCheckFailures: 3,
    })
  })

  test('that finds an image resets the failures', () => {
    const tried = { ...queued, imageCheckFailures: 2 }
    expect(isLastImageCheck(apply(tried, imageVerified(NOW)(tried)!))).toBe(false)
  })

  test('that was not made is repeated and not counted', () => {
    expectChanges(imageCheckPostponed(NEXT_POLL_AT), forStates(QUEUED_STATES, { dueAt: NEXT_POLL_AT }))
  })
})

const ACCEPTED: StateChange = {
  submission: 'accepted',
  tracking: 'active',
  upstreamId: 'x',
  submittedAt: SUBMIT_STARTED_AT,
  dueAt: NEXT_POLL_AT,
  submitCircuit: null,
}
const OUTCOME_UNKNOWN: StateChange = {
  submission: 'unknown',
  tracking: 'active',
  dueAt: NEXT_POLL_AT,
  submitCircuit: { reason: 'unknown', until: NOW },
}
const UNREACHABLE = { reason: 'unreachable', until: NOW + SECOND } as const
const OUTCOMES: readonly SubmitOutcome[] = [
  { kind: 'accepted', upstreamId: 'x' },
  { kind: 'unsent' },
  { kind: 'rejected' },
  { kind: 'account' },
  { kind: 'model' },
  { kind: 'held', until: NOW + HOUR },
  { kind: 'throttled', retryAfterMs: null },
  { kind: 'throttled', retryAfterMs: 5 * SECOND },
  { kind: 'unknown' },
]

describe("the POST's answer", () => {
  /** The changes of a row whose app still waits, and of one that was canceled meanwhile. */
  test.each<[string, SubmitOutcome, StateChange, StateChange]>([
    [
      'accepted: upstream has it under its id, submitted when the POST started',
      { kind: 'accepted', upstreamId: 'x' },
      { ...ACCEPTED, status: 'CREATED' },
      ACCEPTED,
    ],
    [
      'model: it goes back into the queue, and other models are not concerned',
      { kind: 'model' },
      { submission: 'none', dueAt: NOW, submitCircuit: null },
      { submission: 'none', cost: 0, submitCircuit: null },
    ],
    [
      'held: nothing was sent, and it waits',
      { kind: 'held', until: NOW + HOUR },
      { submission: 'none', dueAt: NOW + HOUR, submitStartedAt: null },
      { submission: 'none', cost: 0, submitStartedAt: null },
    ],
    [
      'rejected: it ends, and costs nothing',
      { kind: 'rejected' },
      {
        status: 'FAILED',
        error: 'INVALID_INPUT',
        submission: 'none',
        submittedAt: SUBMIT_STARTED_AT,
        finishedAt: NOW,
        cost: 0,
        submitCircuit: null,
      },
      { submission: 'none', cost: 0, submitCircuit: null },
    ],
    [
      'unsent: back into the queue, and a probe of upstream in a second',
      { kind: 'unsent' },
      { submission: 'none', submitStartedAt: null, dueAt: NOW, submitCircuit: UNREACHABLE },
      { submission: 'none', submitStartedAt: null, cost: 0, submitCircuit: UNREACHABLE },
    ],
    [
      'account: back into the queue until the operator has acted',
      { kind: 'account' },
      { submission: 'none', dueAt: NOW, submitCircuit: { reason: 'account', until: NOW + MINUTE } },
      { submission: 'none', cost: 0, submitCircuit: { reason: 'account', until: NOW + MINUTE } },
    ],
    [
      'throttled: back into the queue for as long as upstream says',
      { kind: 'throttled', retryAfterMs: 5 * SECOND },
      { submission: 'none', dueAt: NOW, submitCircuit: { reason: 'throttled', until: NOW + 5 * SECOND } },
      { submission: 'none', cost: 0, submitCircuit: { reason: 'throttled', until: NOW + 5 * SECOND } },
    ],
    [
      'throttled without Retry-After: back into the queue for a minute',
      { kind: 'throttled', retryAfterMs: null },
      { submission: 'none', dueAt: NOW, submitCircuit: { reason: 'throttled', until: NOW + MINUTE } },
      { submission: 'none', cost: 0, submitCircuit: { reason: 'throttled', until: NOW + MINUTE } },
    ],
    [
      'unknown: it is searched for, its cost stays, and nothing more is sent',
      { kind: 'unknown' },
      OUTCOME_UNKNOWN,
      OUTCOME_UNKNOWN,
    ],
  ])('%s; no other state changes', (_, outcome, change, toCanceled) => {
    expectChanges(submitAnswered(outcome, NOW, NEXT_POLL_AT), {
      begun: change,
      'begun, CANCELED': toCanceled,
    })
  })

  test('is applied once: a second one changes nothing, whatever the first one was', () => {
    for (const job of [STATES.begun, STATES['begun, CANCELED']])
      for (const first of OUTCOMES)
        for (const second of OUTCOMES) {
          const after = apply(job, submitAnswered(first, NOW, NEXT_POLL_AT)(job)!)
          expect(submitAnswered(second, NOW, NEXT_POLL_AT)(after)).toBeNull()
        }
  })

  test('leaves a job that goes back into the queue QUEUED, with its price', () => {
    for (const outcome of OUTCOMES.filter(({ kind }) =>
      ['unsent', 'account', 'model', 'held', 'throttled'].includes(kind),
    ))
      expect(apply(submitStarted, submitAnswered(outcome, NOW, NEXT_POLL_AT)(submitStarted)!)).toMatchObject({
        ...{ status: 'QUEUED', submission: 'none', tracking: null },
        ...{ submittedAt: null, finishedAt: null, error: null, cost: PRICE },
      })
  })

  test('never makes a canceled job one that may be sent', () => {
    const job = STATES['begun, CANCELED']
    for (const outcome of OUTCOMES)
      expect(apply(job, submitAnswered(outcome, NOW, NEXT_POLL_AT)(job)!)).toMatchObject({
        status: 'CANCELED',
      })
  })
})

describe('a row whose claimant died', () => {
  test('is searched for, canceled or not, since its POST may have been sent; other states do not change', () => {
    expectChanges(submitAbandoned(NOW, NEXT_POLL_AT), {
      begun: OUTCOME_UNKNOWN,
      'begun, CANCELED': OUTCOME_UNKNOWN,
    })
  })
})

describe('a job that the reconciler finds', () => {
  const found = submitAccepted('x', NEXT_POLL_AT)

  test('is tracked from then on; a finished prediction stays finished', () => {
    expectChanges(found, {
      begun: { ...ACCEPTED, status: 'CREATED' },
      'begun, CANCELED': ACCEPTED,
      unknown: { ...ACCEPTED, status: 'CREATED' },
      'unknown, CANCELED': ACCEPTED,
      'unknown, FAILED': ACCEPTED,
      'unknown, CANCELED, untracked': ACCEPTED,
      'unknown, FAILED, untracked': ACCEPTED,
    })
  })

  test('is found once', () => {
    for (const name of UNANSWERED_STATES) {
      const after = apply(STATES[name], found(STATES[name])!)
      expect(submitAccepted('another', NEXT_POLL_AT)(after)).toBeNull()
    }
  })
})

test('a job refused for the account three times waits longer each time; other refusals cause no delay', () => {
  const retryDelayAfter = (outcome: SubmitOutcome, submitAttempts: number) =>
    submitAnswered(outcome, NOW, NEXT_POLL_AT)({ ...STATES.begun, submitAttempts })!.dueAt! - NOW
  const delays = [1, 2, 3, 4, 5, 6, 7, 50].map(attempts => retryDelayAfter({ kind: 'account' }, attempts))
  expect(delays).toEqual([0, 0, 1, 2, 4, 8, 15, 15].map(minutes => minutes * MINUTE))
  for (const outcome of OUTCOMES.filter(({ kind }) => kind === 'unsent' || kind === 'throttled'))
    expect(retryDelayAfter(outcome, 50)).toBe(0)
})

describe('a search that found nothing', () => {
  const UNKNOWN_AFTER_MS = 10 * MINUTE
  const searchAt = (age: number, submitUnknownAfterMs = UNKNOWN_AFTER_MS, isAbsent = false) =>
    notListedUpstream(
      { now: SUBMIT_STARTED_AT + age, nextSearchAt: NEXT_POLL_AT, submitUnknownAfterMs },
      isAbsent,
    )
  const SLOT_RELEASED = { tracking: 'expired', dueAt: NEXT_POLL_AT } as const
  const submissionUnknown = (age: number): StateChange => ({
    status: 'FAILED',
    error: 'SUBMISSION_UNKNOWN',
    submittedAt: SUBMIT_STARTED_AT,
    finishedAt: SUBMIT_STARTED_AT + age,
  })

  test('is repeated; other states do not change', () => {
    expectChanges(searchAt(UNKNOWN_AFTER_MS - 1), forStates(UNRESOLVED_STATES, { dueAt: NEXT_POLL_AT }))
  })

  test('frees its slot where a complete list has no possible match', () => {
    expectChanges(
      searchAt(UNKNOWN_AFTER_MS - 1, UNKNOWN_AFTER_MS, true),
      forStates(UNRESOLVED_STATES, SLOT_RELEASED),
    )
  })

  test('ends it as SUBMISSION_UNKNOWN after a while, once, frees its slot and goes on; its cost stays', () => {
    expectChanges(searchAt(UNKNOWN_AFTER_MS), {
      ...forStates(UNRESOLVED_STATES, SLOT_RELEASED),
      unknown: { ...SLOT_RELEASED, ...submissionUnknown(UNKNOWN_AFTER_MS) },
    })
  })

  test('stops after seven days, whether the prediction had ended or not', () => {
    expectChanges(searchAt(7 * DAY - 1, 0), {
      ...forStates(UNRESOLVED_STATES, SLOT_RELEASED),
      unknown: { ...SLOT_RELEASED, ...submissionUnknown(7 * DAY - 1) },
    })
    expectChanges(searchAt(7 * DAY), {
      ...forStates(UNRESOLVED_STATES, { tracking: null }),
      unknown: { tracking: null, ...submissionUnknown(7 * DAY) },
    })
  })
})

describe('a poll', () => {
  const POLL_OPTIONS: PollOptions = { now: NOW, nextPollAt: NEXT_POLL_AT, deadlineMs: HOUR, outputGraceMs: 0 }
  const poll = (observation: Observation, over: Partial<PollOptions> = {}) =>
    pollSucceeded(observation, { ...POLL_OPTIONS, ...over })
  const trackedStates = [...IN_FLIGHT_STATES, ...EXPIRED_STATES]
  const STILL_RUNNING = { lastSeenRunningAt: NOW, dueAt: NEXT_POLL_AT }
  const TRACKING_ENDED = { tracking: null }

  test('that finds it waiting is repeated, and records that it still runs', () => {
    expectChanges(poll({ status: 'waiting' }), forStates(trackedStates, STILL_RUNNING))
  })

  test('that finds it processing changes a CREATED prediction', () => {
    expectChanges(poll({ status: 'processing' }), {
      ...forStates(trackedStates, STILL_RUNNING),
      created: { ...STILL_RUNNING, status: 'PROCESSING', startedAt: NOW },
    })
  })

  /** All fields that a final state sets. */
  const end = (over: StateChange): StateChange => ({
    ...{ error: null, outputs: [], finishedAt: NOW, inferenceMs: null, cost: PRICE, tracking: null },
    ...over,
  })
  const ends: (readonly [string, Observation, StateChange])[] = [
    ['COMPLETED', COMPLETED, end({ status: 'COMPLETED', outputs: OUTPUTS, inferenceMs: 900 })],
    ['CANCELED', { status: 'canceled' }, end({ status: 'CANCELED' })],
    ...PREDICTION_ERROR_CODES.filter(error => error !== 'TIMED_OUT' && error !== 'SUBMISSION_UNKNOWN').map(
      error =>
        [
          `FAILED with ${error}`,
          failed(error),
          end({ status: 'FAILED', error, inferenceMs: 12, cost: 0 }),
        ] as const,
    ),
  ]
  test.each(ends)(
    'that finds it %s ends it, corrects a provisional error, and is the last one; a canceled one stays canceled',
    (_, observation, change) => {
      expectChanges(poll(observation), {
        ...forStates(trackedStates, change),
        'accepted, CANCELED': TRACKING_ENDED,
        'CANCELED, expired': TRACKING_ENDED,
      })
    },
  )

  test('that finds it timed out ends it where the gateway had not, and it may be charged', () => {
    const change = end({ status: 'FAILED', error: 'TIMED_OUT', inferenceMs: 12 })
    expectChanges(poll(failed('TIMED_OUT')), {
      ...forStates(trackedStates, change),
      'accepted, CANCELED': TRACKING_ENDED,
      'CANCELED, expired': TRACKING_ENDED,
      'TIMED_OUT, expired': TRACKING_ENDED,
    })
  })

  test('that corrects a provisional error sets every field, like any other end', () => {
    for (const name of ['TIMED_OUT, expired', 'SUBMISSION_UNKNOWN, expired'] as const)
      for (const [, observation, change] of ends) {
        const job = STATES[name]
        const after = apply(job, poll(observation)(job)!)
        expect(after).toMatchObject(change)
        expect(isLegalTransition(job.status, after.status, job.error)).toBe(true)
        for (const again of [COMPLETED, EMPTY, failed('INVALID_INPUT')]) expect(poll(again)(after)).toBeNull()
      }
  })

  test('ends a CREATED prediction without PROCESSING, if no poll found it there', () => {
    const after = apply(created, poll(COMPLETED)(created)!)
    expect(after).toMatchObject({ status: 'COMPLETED', startedAt: null })
  })

  test('that finds it completed without outputs is repeated, and only then is it NO_OUTPUT', () => {
    expectChanges(
      poll(EMPTY),
      forStates(trackedStates, { completedWithoutOutputSince: NOW, dueAt: NEXT_POLL_AT }),
    )
    for (const name of trackedStates) {
      const once = apply(STATES[name], poll(EMPTY)(STATES[name])!)
      expect(once).toMatchObject({ status: STATES[name].status, tracking: STATES[name].tracking })
      const twice = pollSucceeded(EMPTY, { ...POLL_OPTIONS, now: NEXT_POLL_AT })(once)
      const ending = end({ status: 'FAILED', error: 'NO_OUTPUT', finishedAt: NEXT_POLL_AT, inferenceMs: 7 })
      expect(twice).toEqual(once.status === 'CANCELED' ? TRACKING_ENDED : ending)
    }
  })

  test('accepts an output that appears late', () => {
    const once = apply(created, poll(EMPTY)(created)!)
    expect(poll(COMPLETED)(once)).toMatchObject({ status: 'COMPLETED', outputs: OUTPUTS })
  })

  describe('past the deadline', () => {
    const at = SUBMIT_STARTED_AT + HOUR
    const TRACKING_EXPIRED = { tracking: 'expired', dueAt: NEXT_POLL_AT } as const
    const END: StateChange = { status: 'FAILED', error: 'TIMED_OUT', finishedAt: at }

    test('ends the prediction as TIMED_OUT and frees its slot: it may be charged and is still polled', () => {
      for (const observation of [{ status: 'waiting' }, { status: 'processing' }] as const)
        expectChanges(poll(observation, { now: at }), {
          ...forStates(trackedStates, { lastSeenRunningAt: at, dueAt: NEXT_POLL_AT }),
          ...forStates(IN_FLIGHT_STATES, { ...TRACKING_EXPIRED, lastSeenRunningAt: at }),
          ...forStates(['created', 'processing'], { ...TRACKING_EXPIRED, ...END, lastSeenRunningAt: at }),
        })
    })

    test('one millisecond earlier, it keeps its slot and its status', () => {
      expectChanges(
        poll({ status: 'waiting' }, { now: at - 1 }),
        forStates(trackedStates, { lastSeenRunningAt: at - 1, dueAt: NEXT_POLL_AT }),
      )
    })

    test('a poll that shows an end is believed', () => {
      expect(poll(COMPLETED, { now: at })(created)).toMatchObject({ status: 'COMPLETED', tracking: null })
    })
  })

  test('of an expired job is the last one after seven days, and changes nothing else', () => {
    for (const transition of [
      poll({ status: 'waiting' }, { now: SUBMIT_STARTED_AT + 7 * DAY - 1 }),
      pollFailed({ ...POLL_OPTIONS, now: SUBMIT_STARTED_AT + 7 * DAY - 1 }, true),
    ])
      for (const name of EXPIRED_STATES)
        expect(transition(STATES[name])).toMatchObject({ dueAt: NEXT_POLL_AT })
    for (const transition of [
      poll({ status: 'processing' }, { now: SUBMIT_STARTED_AT + 7 * DAY }),
      pollFailed({ ...POLL_OPTIONS, now: SUBMIT_STARTED_AT + 7 * DAY }, false),
    ])
      for (const name of EXPIRED_STATES) {
        const { lastSeenRunningAt: _, ...change } = transition(STATES[name])!
        expect(change).toEqual(TRACKING_ENDED)
      }
    expect(UPSTREAM_RETENTION_MS).toBe(7 * DAY)
  })

  test('that failed changes nothing: it is repeated', () => {
    for (const isAnswered of [true, false])
      expectChanges(pollFailed(POLL_OPTIONS, isAnswered), forStates(trackedStates, { dueAt: NEXT_POLL_AT }))
  })

  test('that failed ends a job past its deadline; without any answer, past twice the deadline', () => {
    const atAge = (age: number, isAnswered: boolean) =>
      pollFailed({ ...POLL_OPTIONS, now: SUBMIT_STARTED_AT + age }, isAnswered)(created)
    const repeated = { dueAt: NEXT_POLL_AT }
    const over = (age: number) => ({
      ...{ tracking: 'expired', dueAt: NEXT_POLL_AT, status: 'FAILED', error: 'TIMED_OUT' },
      finishedAt: SUBMIT_STARTED_AT + age,
    })
    expect(atAge(HOUR - 1, true)).toEqual(repeated)
    expect(atAge(HOUR, true)).toEqual(over(HOUR))
    expect(atAge(2 * HOUR - 1, false)).toEqual(repeated)
    expect(atAge(2 * HOUR, false)).toEqual(over(2 * HOUR))
  })
})

describe('a webhook', () => {
  const FOUND_BY_WEBHOOK = { ...ACCEPTED, dueAt: NOW, lastSeenRunningAt: NOW }

  test('with a known id schedules a poll now, and outdates a poll in flight', () => {
    const change = { dueAt: NOW, lastSeenRunningAt: NOW, fence: queued.fence + 1 }
    const unanswered = Object.fromEntries(
      NAMES.filter(name => ['begun', 'unknown'].includes(STATES[name].submission)).map(name => [
        name,
        expect.anything(),
      ]),
    )
    expectChanges(webhookReceived('u', NOW), {
      ...unanswered,
      ...forStates(QUEUED_STATES, expect.anything()),
      ...forStates([...IN_FLIGHT_STATES, ...EXPIRED_STATES], change),
    })
  })

  test('assigns the id to a row without one: POST started, unanswered, given up or refused, or forgotten by a restored copy', () => {
    expectChanges(webhookReceived('x', NOW), {
      ...forStates(QUEUED_STATES, {
        status: 'CREATED',
        submission: 'accepted',
        tracking: 'active',
        upstreamId: 'x',
        submitStartedAt: NOW,
        submittedAt: NOW,
        dueAt: NOW,
        lastSeenRunningAt: NOW,
      }),
      refused: { ...FOUND_BY_WEBHOOK, status: 'CREATED' },
      begun: { ...FOUND_BY_WEBHOOK, status: 'CREATED' },
      'begun, CANCELED': FOUND_BY_WEBHOOK,
      unknown: { ...FOUND_BY_WEBHOOK, status: 'CREATED' },
      'unknown, CANCELED': FOUND_BY_WEBHOOK,
      'unknown, FAILED': FOUND_BY_WEBHOOK,
      'unknown, CANCELED, untracked': FOUND_BY_WEBHOOK,
      'unknown, FAILED, untracked': FOUND_BY_WEBHOOK,
    })
  })

  test('ends nothing: the poll that follows does', () => {
    for (const name of NAMES) {
      const change = webhookReceived('u', NOW)(STATES[name])
      if (change === null) continue
      expect(change.status ?? 'CREATED').toBe('CREATED')
      expect(isFinal(apply(STATES[name], change).status)).toBe(isFinal(STATES[name].status))
    }
  })

  test("before the POST's answer outdates that answer", () => {
    for (const name of ['begun', 'begun, CANCELED'] as const) {
      const after = apply(STATES[name], webhookReceived('x', NOW)(STATES[name])!)
      for (const outcome of OUTCOMES) expect(submitAnswered(outcome, NOW, NEXT_POLL_AT)(after)).toBeNull()
      expect(submitAbandoned(NOW, NEXT_POLL_AT)(after)).toBeNull()
    }
  })
})

describe('a cancel', () => {
  const END: StateChange = { status: 'CANCELED', finishedAt: NOW }

  test('ends an unfinished prediction: free before the POST; later it keeps its cost and its slot', () => {
    expectChanges(canceled(NOW), {
      ...forStates(QUEUED_STATES, { ...END, cost: 0 }),
      ...forStates(['begun', 'unknown', 'created', 'processing'], END),
    })
  })

  test('does not change a finished prediction, provisional errors included', () => {
    for (const name of NAMES) if (isFinal(STATES[name].status)) expect(canceled(NOW)(STATES[name])).toBeNull()
  })
})

describe('cost', () => {
  const pollResult = (observation: Observation) =>
    pollSucceeded(observation, { now: NOW, nextPollAt: NEXT_POLL_AT, deadlineMs: HOUR, outputGraceMs: 0 })
  const overdue = {
    now: SUBMIT_STARTED_AT + HOUR,
    nextPollAt: NEXT_POLL_AT,
    deadlineMs: HOUR,
    outputGraceMs: 0,
  }
  const submitAnswer = (outcome: SubmitOutcome) => submitAnswered(outcome, NOW, NEXT_POLL_AT)

  test.each<[string, number, Transition, State]>([
    ['accepted keeps the price', PRICE, submitAnswer({ kind: 'accepted', upstreamId: 'u' }), 'begun'],
    ['rejected is free', 0, submitAnswer({ kind: 'rejected' }), 'begun'],
    ['rejected is free after a cancel too', 0, submitAnswer({ kind: 'rejected' }), 'begun, CANCELED'],
    ['a refusal keeps the price of a job that waits on', PRICE, submitAnswer({ kind: 'account' }), 'begun'],
    ['a refusal makes a canceled job free', 0, submitAnswer({ kind: 'account' }), 'begun, CANCELED'],
    ['no answer keeps the price', PRICE, submitAnswer({ kind: 'unknown' }), 'begun'],
    [
      'no answer keeps the price of a canceled job',
      PRICE,
      submitAnswer({ kind: 'unknown' }),
      'begun, CANCELED',
    ],
    ['a dead claimant keeps the price', PRICE, submitAbandoned(NOW, NEXT_POLL_AT), 'begun'],
    [
      'SUBMISSION_UNKNOWN keeps the price',
      PRICE,
      notListedUpstream({ now: NOW, nextSearchAt: NEXT_POLL_AT, submitUnknownAfterMs: 0 }, false),
      'unknown',
    ],
    ['an invalid image is free', 0, imageRejected(NOW), 'waiting'],
    ['a cancel before sending is free', 0, canceled(NOW), 'waiting'],
    ['a cancel after a refusal is free', 0, canceled(NOW), 'refused'],
    ['a cancel while the POST is in flight keeps the price', PRICE, canceled(NOW), 'begun'],
    ['a cancel while the outcome is unknown keeps the price', PRICE, canceled(NOW), 'unknown'],
    ['a cancel after sending keeps the price', PRICE, canceled(NOW), 'processing'],
    ['COMPLETED keeps the price', PRICE, pollResult(COMPLETED), 'processing'],
    ['canceled by upstream keeps the price', PRICE, pollResult({ status: 'canceled' }), 'processing'],
    ["the gateway's own TIMED_OUT keeps the price", PRICE, pollFailed(overdue, true), 'processing'],
    ...PREDICTION_ERROR_CODES.map((error): [string, number, Transition, State] => [
      `upstream reports ${error}`,
      error === 'TIMED_OUT' ? PRICE : 0,
      pollResult(failed(error)),
      'processing',
    ]),
  ])('%s', (_, cost, transition, state) => {
    expect(apply(STATES[state], transition(STATES[state])!).cost).toBe(cost)
  })

  test('NO_OUTPUT keeps the price', () => {
    const job = { ...created, completedWithoutOutputSince: SUBMIT_STARTED_AT }
    expect(apply(job, pollResult(EMPTY)(job)!)).toMatchObject({ error: 'NO_OUTPUT', cost: PRICE })
  })
})

test('observations in any order make only legal transitions, and a sent job is never sent again', () => {
  // Half of the moments are before the deadline; later a poll that finds a running job ends its prediction.
  const moment = fc.oneof(
    fc.integer({ min: NOW, max: NOW + HOUR / 2 }),
    fc.integer({ min: NOW, max: NOW + 9 * DAY }),
  )
  const observation: fc.Arbitrary<Observation> = fc.oneof(
    fc.constantFrom<Observation[]>({ status: 'waiting' }, { status: 'processing' }, { status: 'canceled' }),
    fc.constantFrom(COMPLETED, EMPTY),
    fc.constantFrom(...PREDICTION_ERROR_CODES.filter(error => error !== 'SUBMISSION_UNKNOWN')).map(failed),
  )
  const pollOptions = moment.map(
    (now): PollOptions => ({ now, nextPollAt: now + 1, deadlineMs: HOUR, outputGraceMs: 0 }),
  )
  /** The change that a claim makes to a queued row. */
  const claim: Transition = ({ status, submission }) =>
    status === 'QUEUED' && submission === 'none' ? { submission: 'begun' } : null
  const transitions: fc.Arbitrary<Transition> = fc.oneof(
    { weight: 3, arbitrary: fc.constant(claim) },
    // Half of the POSTs are accepted; otherwise few sequences would reach the later states.
    {
      weight: 2,
      arbitrary: moment.map(at => submitAnswered({ kind: 'accepted', upstreamId: 'x' }, at, at + 1)),
    },
    {
      weight: 2,
      arbitrary: fc
        .tuple(fc.constantFrom(...OUTCOMES), moment)
        .map(([outcome, at]) => submitAnswered(outcome, at, at + 1)),
    },
    {
      weight: 3,
      arbitrary: fc
        .tuple(observation, pollOptions)
        .map(([observation, options]) => pollSucceeded(observation, options)),
    },
    {
      weight: 1,
      arbitrary: fc
        .tuple(pollOptions, fc.boolean())
        .map(([options, isAnswered]) => pollFailed(options, isAnswered)),
    },
    { weight: 1, arbitrary: moment.map(at => submitAbandoned(at, at + 1)) },
    {
      weight: 1,
      arbitrary: moment.map(at =>
        notListedUpstream({ now: at, nextSearchAt: at + 1, submitUnknownAfterMs: MINUTE }, false),
      ),
    },
    { weight: 1, arbitrary: moment.map(at => webhookReceived('x', at)) },
    { weight: 1, arbitrary: moment.map(at => imageCheckFailed(at, at + 1)) },
    { weight: 1, arbitrary: moment.map(canceled) },
  )
  const reached = new Set<string>()
  fc.assert(
    fc.property(fc.array(transitions, { minLength: 15, maxLength: 30 }), sequence => {
      let job = queued
      let mayRun = false
      for (const transition of sequence) {
        const change = transition(Object.freeze(job))
        if (change === null) continue
        const next = {
          ...apply(job, change),
          ...(transition === claim && { submitStartedAt: SUBMIT_STARTED_AT }),
        }
        if (next.status !== job.status)
          expect(isLegalTransition(job.status, next.status, job.error)).toBe(true)
        if (job.status === 'CANCELED')
          expect([next.status, next.error, next.finishedAt]).toEqual(['CANCELED', null, job.finishedAt])
        // Once accepted or unknown, it never returns to the queue.
        mayRun ||= next.submission === 'accepted' || next.submission === 'unknown'
        if (mayRun) expect(['accepted', 'unknown']).toContain(next.submission)
        job = next
        reached.add(job.status).add(`${job.error}`)
        // Invariants of every prediction at all times.
        expect(job.error !== null).toBe(job.status === 'FAILED')
        expect(job.outputs.length > 0).toBe(job.status === 'COMPLETED')
        expect(job.finishedAt !== null).toBe(isFinal(job.status))
        expect(job.upstreamId !== null).toBe(job.submission === 'accepted')
        if (job.status === 'CREATED' || job.status === 'PROCESSING') expect(job.tracking).toBe('active')
        // An unfinished prediction that was sent is tracked; one that was not sent is not.
        if (job.submission === 'accepted' || job.submission === 'unknown')
          expect(isFinal(job.status) || job.tracking !== null).toBe(true)
        else expect(job.tracking).toBeNull()
        expect(job.cost === PRICE || isFinal(job.status)).toBe(true)
      }
    }),
    { numRuns: 3000 },
  )
  expect([...reached]).toEqual(
    expect.arrayContaining([...STATUSES, 'SUBMISSION_UNKNOWN', 'TIMED_OUT', 'NO_OUTPUT']),
  )
})

test('a poll is routine where its transition changes only the due time and the last sight of the job, to the same values', () => {
  const DEADLINE_MS = HOUR
  const limitAges = [DEADLINE_MS, 2 * DEADLINE_MS, UPSTREAM_RETENTION_MS].flatMap(ms => [ms - 1, ms])
  const age = fc.oneof(fc.constantFrom(...limitAges), fc.integer({ min: 0, max: 3 * DEADLINE_MS }))
  const job = fc
    .record({
      state: fc.oneof(fc.constantFrom(...IN_FLIGHT_STATES, ...EXPIRED_STATES), fc.constantFrom(...NAMES)),
      lastSeenRunningAt: fc.constantFrom(null, NOW - SECOND),
      completedWithoutOutputSince: fc.constantFrom(null, NOW - SECOND),
    })
    .map(({ state, ...fields }): Job => ({ ...STATES[state], ...fields }))
  const observation = fc.constantFrom<(Observation | null)[]>(
    null,
    { status: 'waiting' },
    { status: 'processing' },
    { status: 'canceled' },
    COMPLETED,
    EMPTY,
    failed('GENERATION_FAILED'),
    failed('TIMED_OUT'),
  )
  let routinePolls = 0
  let otherPolls = 0
  fc.assert(
    fc.property(job, observation, age, fc.boolean(), (polled, seen, ageMs, isAnswered) => {
      const now = SUBMIT_STARTED_AT + ageMs
      const options = { now, nextPollAt: now + MINUTE, deadlineMs: DEADLINE_MS, outputGraceMs: MINUTE }
      const transition = seen === null ? pollFailed(options, isAnswered) : pollSucceeded(seen, options)
      const change = transition(Object.freeze(polled))
      const { dueAt, lastSeenRunningAt = polled.lastSeenRunningAt, ...news } = change ?? {}
      const isRoutine = change !== null && Object.keys(news).length === 0
      expect(routinePollUpdate(polled, seen, options, isAnswered)).toEqual(
        isRoutine ? { dueAt, lastSeenRunningAt } : null,
      )
      if (isRoutine) routinePolls++
      else otherPolls++
    }),
    { numRuns: 3000 },
  )
  expect(Math.min(routinePolls, otherPolls)).toBeGreaterThan(300)
})
