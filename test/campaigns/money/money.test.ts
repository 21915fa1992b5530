import { describe, expect, test } from 'vitest'
import { newSeed } from '../../../src/simulator/seeded-random.ts'
import type { Evidence, PredictionRow, UpstreamJob } from './evidence.ts'
import { expectedOutcome } from './expected-outcome.ts'
import { findLogBreaches, findTimedOutSubmits } from './log-check.ts'
import { runMoneyCampaign } from './money-campaign.ts'
import { findBreaches } from './money-oracle.ts'
import { SHORT } from './plan.ts'
import { createMarker, findMarker } from './prompt-marker.ts'
import { countUnresolved } from './unknown-submits.ts'

/** `npm run torture -- --short --seed N` draws the chances of a failure again. */
test('killed and lied to at random, no job is lost, none is charged twice, and every end is true', async () => {
  console.log(await runMoneyCampaign(SHORT, newSeed()))
}, 180_000)

/** A prediction that was promised, sent at 1000 and completed; with what `change` says of it otherwise. */
function row(id: string, change: Partial<PredictionRow> = {}): PredictionRow {
  return {
    id,
    app: 'one',
    marker: `m-${id}`,
    status: 'COMPLETED',
    error: null,
    submission: 'accepted',
    upstreamId: `u-${id}`,
    outputs: [`http://x/files/u-${id}.mp4`],
    retryOf: null,
    submitStartedAt: 1000,
    ...change,
  }
}
const job = (id: string, change: Partial<UpstreamJob> = {}): UpstreamJob => ({
  id: `u-${id}`,
  marker: `m-${id}`,
  end: 'completed',
  code: null,
  hasOutput: true,
  ...change,
})
const ended = (status: string, error: string | null = null) => ({ status, error, outputs: [] })
const withoutUpstreamId = { upstreamId: null, submission: 'unknown' }
const UNKNOWN = { ...ended('FAILED', 'SUBMISSION_UNKNOWN'), ...withoutUpstreamId }
const CANCELED = { ...ended('CANCELED'), ...withoutUpstreamId }

/** One of every kind, all as it should be; `a` was retried as `r`. */
const ROWS = [
  row('a', ended('FAILED', 'CONTENT_REJECTED')),
  row('r', { marker: 'm-a', retryOf: 'a' }),
  row('b'),
  row('c', { ...ended('CANCELED'), app: 'other' }),
  row('d', UNKNOWN),
  row('e', UNKNOWN),
  row('f', CANCELED),
  row('g', CANCELED),
  row('h', ended('FAILED', 'NO_OUTPUT')),
]
const JOBS = [
  job('a', { end: 'failed', code: 1200 }),
  job('r', { marker: 'm-a' }),
  job('b'),
  job('c'),
  job('d'),
  job('g'),
  job('h', { hasOutput: false }),
]

function make(change: Partial<Evidence> = {}): Evidence {
  const post = (marker: string, kind: string | null) => ({ marker, at: 1000, kind })
  return {
    rows: ROWS,
    jobs: JOBS,
    requests: ROWS.map(({ id, app, marker, retryOf }) => ({
      app,
      key: `k-${id}`,
      marker,
      retryOf,
      ids: [id],
    })),
    cancels: [
      { app: 'other', id: 'c', status: 'CANCELED', mayStillBeCharged: true },
      { app: 'one', id: 'f', status: 'CANCELED', mayStillBeCharged: false },
      { app: 'one', id: 'g', status: 'CANCELED', mayStillBeCharged: true },
      { app: 'one', id: 'b', status: 'COMPLETED', mayStillBeCharged: null },
    ],
    posts: [post('m-d', '5xx after'), post('m-b', '429'), post('m-b', 'nulls')],
    webhookAcceptedJobs: new Set(['u-a', 'u-b']),
    timedOutSubmits: new Set(),
    killTimes: [1200],
    ...change,
  }
}
const withRow = (id: string, change: Partial<PredictionRow>): Partial<Evidence> => ({
  rows: ROWS.map(row => (row.id === id ? { ...row, ...change } : row)),
})
const without = (id: string) => ROWS.filter(row => row.id !== id)
const promises = (change: (promises: Evidence['requests']) => Evidence['requests']) => ({
  requests: change(make().requests),
})

describe('the verdict', () => {
  test('on rows that say what the ledger says is none', () => {
    expect(findBreaches(make())).toEqual([])
    expect(countUnresolved(make())).toEqual({ unknown: 2, charged: 1 })
  })

  test.each<[what: string, change: Partial<Evidence>, breach: RegExp]>([
    ['a job that is not on disk', { rows: without('b') }, /^LOST: m-b, promised to one as b/],
    ["a job under another app's name", withRow('b', { app: 'other' }), /^LOST: m-b/],
    ["a job with another's prompt", withRow('b', { marker: 'm-a' }), /^LOST: m-b/],
    [
      'a retry that is linked to nothing',
      withRow('r', { retryOf: null }),
      /^LOST: m-a, promised to one as r/,
    ],
    [
      'a key with two predictions',
      promises(all => all.map(one => (one.key === 'k-b' ? { ...one, ids: ['b', 'r'] } : one))),
      /^TWO ANSWERS to k-b/,
    ],
    [
      'a submit without an answer',
      promises(all => all.map(one => (one.key === 'k-b' ? { ...one, ids: [] } : one))),
      /^NO ANSWER to k-b/,
    ],
    ['a row that nobody asked for', promises(all => all.slice(1)), /^NOBODY'S: m-a/],
    ['a row that still waits', withRow('b', { status: 'QUEUED', submission: 'none' }), /^UNFINISHED: m-b/],
    ['a row that still runs', withRow('b', { status: 'PROCESSING' }), /^UNFINISHED/],
    ['a canceled row whose POST is still begun', withRow('g', { submission: 'begun' }), /^UNFINISHED: m-g/],
    [
      'two jobs for one row',
      { jobs: [...JOBS, job('x', { marker: 'm-b' })] },
      /^CHARGED TWICE: 2 jobs for m-b/,
    ],
    [
      'two jobs for an unknown row',
      { jobs: [...JOBS, job('x', { marker: 'm-d' })] },
      /^CHARGED TWICE: 2 jobs/,
    ],
    [
      'three jobs for a row and its retry',
      { jobs: [...JOBS, job('x', { marker: 'm-a' })] },
      /^CHARGED TWICE: 3/,
    ],
    ['a job of a row that was canceled unsent', { jobs: [...JOBS, job('f')] }, /^CHARGED UNTOLD: 1 .*m-f/],
    [
      'a job of a row that was canceled unsent, and that the row names',
      { rows: withRow('f', { upstreamId: 'u-f' }).rows!, jobs: [...JOBS, job('f')] },
      /^SENT: m-f/,
    ],
    ['a job nobody asked for', { jobs: [...JOBS, job('x')] }, /^CHARGED TWICE: 1 jobs for/],
    ['a job that is not in the ledger', { jobs: JOBS.filter(({ id }) => id !== 'u-b') }, /^NO SUCH JOB: m-b/],
    [
      "another's job",
      withRow('d', { ...ended('COMPLETED'), upstreamId: 'u-g' }),
      /^ANOTHER'S VIDEO: m-d .* m-g$/,
    ],
    [
      'a job that two rows name',
      withRow('r', { upstreamId: 'u-a', ...ended('FAILED', 'CONTENT_REJECTED') }),
      /^SHARED/,
    ],
    [
      'a completed job that is called failed',
      withRow('r', ended('FAILED', 'GENERATION_FAILED')),
      /^UNTRUE: m-a .*COMPLETED$/,
    ],
    [
      'a failed job that is called completed',
      withRow('a', { ...ended('COMPLETED') }),
      /^UNTRUE: m-a .*CONTENT_REJECTED$/,
    ],
    ['a failure under another code', withRow('a', { error: 'TIMED_OUT' }), /^UNTRUE: m-a/],
    ['a completed row without its video', withRow('b', { outputs: [] }), /^UNTRUE: m-b/],
    [
      "a completed row with another's video",
      withRow('b', { outputs: ['http://x/files/u-a.mp4'] }),
      /^UNTRUE: m-b/,
    ],
    [
      'a completed row that names no job',
      withRow('d', { ...ended('COMPLETED') }),
      /^UNTRUE: m-d .*nothing of it/,
    ],
    [
      'a row that failed unsent',
      withRow('e', { error: 'IMAGE_UNREACHABLE', submission: 'none' }),
      /^UNTRUE: m-e/,
    ],
    ['a cancel that nobody asked for', withRow('h', ended('CANCELED')), /^UNTRUE: m-h/],
    [
      'a row that ended otherwise than its app was told',
      withRow('b', ended('FAILED', 'NO_OUTPUT')),
      /^TAKEN BACK: m-b .*COMPLETED$/,
    ],
    [
      'a cancel that was taken back',
      withRow('c', { status: 'COMPLETED', outputs: ['u-c.mp4'] }),
      /^TAKEN BACK: m-c/,
    ],
    [
      'a webhook that was taken in vain',
      { webhookAcceptedJobs: new Set(['u-d']) },
      /^DEAF: .* u-d, a job of m-d/,
    ],
    ['an unknown without a fault or a kill', { killTimes: [] }, /^UNKNOWN WITHOUT CAUSE: m-e/],
    [
      'an unknown that was begun after the kill',
      withRow('e', { submitStartedAt: 1300 }),
      /^UNKNOWN WITHOUT CAUSE: m-e/,
    ],
    [
      'an unknown whose POST was answered long before the kill',
      { killTimes: [9000], posts: [{ marker: 'm-e', at: 1100, kind: 'nulls' }, ...make().posts] },
      /^UNKNOWN WITHOUT CAUSE: m-e/,
    ],
  ])('finds %s', (_, change, breach) => {
    expect(
      findBreaches(make(change)).find(found => breach.test(found)),
      findBreaches(make(change)).join('\n'),
    ).toBeDefined()
  })

  test.each<[what: string, change: Partial<Evidence>]>([
    ['an unknown row that was settled after all', withRow('d', row('d'))],
    [
      'a canceled row that is named its job later',
      withRow('g', { upstreamId: 'u-g', submission: 'accepted' }),
    ],
    ['an unknown that the gateway waited for in vain', { killTimes: [], timedOutSubmits: new Set(['e']) }],
    ['a retry that was refused', promises(all => [...all, { ...all[1]!, key: 'k-x', ids: [] }])],
    [
      'a cancel that came just before a restart and is told as finished',
      { cancels: make().cancels.map(one => (one.id === 'g' ? { ...one, mayStillBeCharged: null } : one)) },
    ],
  ])('lets %s pass', (_, change) => {
    expect(findBreaches(make(change))).toEqual([])
  })
})

test.each<[Partial<UpstreamJob>, string]>([
  [{}, 'COMPLETED'],
  [{ hasOutput: false }, 'FAILED NO_OUTPUT'],
  [{ end: 'cancelled' }, 'CANCELED'],
  [{ end: 'timeout' }, 'FAILED TIMED_OUT'],
  [{ end: 'failed' }, 'FAILED GENERATION_FAILED'],
  [{ end: 'failed', code: 1402 }, 'FAILED IMAGE_UNREACHABLE'],
  [{ end: 'failed', code: 1407 }, 'FAILED GENERATION_FAILED'],
  [{ end: 'failed', code: 5004 }, 'FAILED TIMED_OUT'],
])('a job that ended as %j is told as %s', (end, reported) => {
  expect(expectedOutcome(job('a', end))).toBe(reported)
})

test('a marker is found in its prompt', () => {
  expect(findMarker(`a ${createMarker('one', 12)} sim:seconds=0.3`)).toBe(createMarker('one', 12))
})

const LINE = '{"level":30,"msg":"submitted"}\n'
test.each([
  ['nothing but lines of the log', LINE, []],
  ['a last line that the kill tore', `${LINE}{"level":30,"ms`, []],
  ['a prompt', `${LINE}{"level":20,"prompt":"a heron-one-1"}\n`, [/^TOLD THE LOG "heron"/]],
  ['a prompt in a torn line', `${LINE}{"level":20,"prompt":"a heron-o`, [/^TOLD THE LOG/]],
  ['an error', `${LINE}{"level":50,"msg":"unexpected error in a worker job"}\n`, [/^LOGGED AN ERROR/]],
  ['what is no line of the log', `Error: x\n${LINE}`, [/^SAID PAST THE LOG: Error/]],
])('of a log with %s the breaches are told', (_, log, breaches) => {
  expect(findLogBreaches(log, ['heron'])).toEqual(breaches.map(breach => expect.stringMatching(breach)))
})

test('of a log the POSTs that were given up are told', () => {
  const line = (fields: object) => `${JSON.stringify({ level: 40, ...fields })}\n`
  const log = [
    line({ prediction: 'a', outcome: 'unknown', ms: 1500 }),
    line({ prediction: 'b', outcome: 'unknown', ms: 20 }),
    line({ prediction: 'c', outcome: 'throttled', ms: 2000 }),
  ]
  expect(findTimedOutSubmits(log.join(''), 1500)).toEqual(['a'])
})
