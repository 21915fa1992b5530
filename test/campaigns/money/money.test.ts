import { globSync, readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { newSeed } from '../../../src/simulator/seeded-random.ts'
import type { Evidence, PredictionRow, UpstreamJob } from './evidence.ts'
import { expectedOutcome } from './expected-outcome.ts'
import { findLogBreaches, findTimedOutSubmits } from './log-check.ts'
import { runMoneyCampaign } from './money-campaign.ts'
import { findBreaches } from './money-oracle.ts'
import { SHORT } from './plan.ts'
import { createMarker, findMarker } from './prompt-marker.ts'
import { CONFIRMED_BY_WEBHOOK_MESSAGE, FOUND_IN_LIST_MESSAGE } from './summary.ts'
import { countUnresolved } from './unknown-submits.ts'

/** `npm run torture -- --short --seed N` repeats a failed run. */
test('with kills and false answers at random no job is lost, none is charged twice, and every end is true', async () => {
  console.log(await runMoneyCampaign(SHORT, newSeed()))
}, 180_000)

/** A prediction that its app was promised, sent at 1000 and completed, with `change` applied. */
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

/** A row of every kind, all correct. `a` was retried as `r`. */
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

function createEvidence(change: Partial<Evidence> = {}): Evidence {
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
const withRequests = (change: (requests: Evidence['requests']) => Evidence['requests']) => ({
  requests: change(createEvidence().requests),
})

describe('the oracle', () => {
  test('accepts rows that agree with the ledger', () => {
    expect(findBreaches(createEvidence())).toEqual([])
    expect(countUnresolved(createEvidence())).toEqual({ unknown: 2, charged: 1 })
  })

  test.each<[title: string, change: Partial<Evidence>, breach: RegExp]>([
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
      withRequests(all => all.map(one => (one.key === 'k-b' ? { ...one, ids: ['b', 'r'] } : one))),
      /^TWO ANSWERS to k-b/,
    ],
    [
      'a submit without an answer',
      withRequests(all => all.map(one => (one.key === 'k-b' ? { ...one, ids: [] } : one))),
      /^NO ANSWER to k-b/,
    ],
    ['a row that no app requested', withRequests(all => all.slice(1)), /^NOT REQUESTED: m-a/],
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
    [
      'a job of a row that was canceled unsent',
      { jobs: [...JOBS, job('f')] },
      /^CHARGED UNREPORTED: 1 .*m-f/,
    ],
    [
      'a job of a row that was canceled unsent, and that the row names',
      { rows: withRow('f', { upstreamId: 'u-f' }).rows!, jobs: [...JOBS, job('f')] },
      /^SENT AFTER CANCEL: m-f/,
    ],
    ['a job that no app requested', { jobs: [...JOBS, job('x')] }, /^CHARGED TWICE: 1 jobs for/],
    ['a job that is not in the ledger', { jobs: JOBS.filter(({ id }) => id !== 'u-b') }, /^NO SUCH JOB: m-b/],
    [
      "another's job",
      withRow('d', { ...ended('COMPLETED'), upstreamId: 'u-g' }),
      /^WRONG VIDEO: m-d .* m-g$/,
    ],
    [
      'a job that two rows name',
      withRow('r', { upstreamId: 'u-a', ...ended('FAILED', 'CONTENT_REJECTED') }),
      /^SHARED/,
    ],
    [
      'a completed job that is called failed',
      withRow('r', ended('FAILED', 'GENERATION_FAILED')),
      /^WRONG OUTCOME: m-a .*COMPLETED$/,
    ],
    [
      'a failed job that is called completed',
      withRow('a', { ...ended('COMPLETED') }),
      /^WRONG OUTCOME: m-a .*CONTENT_REJECTED$/,
    ],
    ['a failure under another code', withRow('a', { error: 'TIMED_OUT' }), /^WRONG OUTCOME: m-a/],
    ['a completed row without its video', withRow('b', { outputs: [] }), /^WRONG OUTCOME: m-b/],
    [
      "a completed row with another's video",
      withRow('b', { outputs: ['http://x/files/u-a.mp4'] }),
      /^WRONG OUTCOME: m-b/,
    ],
    [
      'a completed row that names no job',
      withRow('d', { ...ended('COMPLETED') }),
      /^WRONG OUTCOME: m-d .*nothing of it/,
    ],
    [
      'a row that failed unsent',
      withRow('e', { error: 'IMAGE_UNREACHABLE', submission: 'none' }),
      /^WRONG OUTCOME: m-e/,
    ],
    ['a cancel that no app requested', withRow('h', ended('CANCELED')), /^WRONG OUTCOME: m-h/],
    [
      'a row whose end is not the one that its app was answered',
      withRow('b', ended('FAILED', 'NO_OUTPUT')),
      /^REVERTED: m-b .*COMPLETED$/,
    ],
    [
      'a cancel that was reverted',
      withRow('c', { status: 'COMPLETED', outputs: ['u-c.mp4'] }),
      /^REVERTED: m-c/,
    ],
    [
      'an accepted webhook without effect',
      { webhookAcceptedJobs: new Set(['u-d']) },
      /^WEBHOOK LOST: .* u-d, a job of m-d/,
    ],
    ['an unknown submit without a fault or a kill', { killTimes: [] }, /^UNKNOWN WITHOUT CAUSE: m-e/],
    [
      'an unknown submit that started after the kill',
      withRow('e', { submitStartedAt: 1300 }),
      /^UNKNOWN WITHOUT CAUSE: m-e/,
    ],
    [
      'an unknown submit whose POST was answered long before the kill',
      { killTimes: [9000], posts: [{ marker: 'm-e', at: 1100, kind: 'nulls' }, ...createEvidence().posts] },
      /^UNKNOWN WITHOUT CAUSE: m-e/,
    ],
  ])('finds %s', (_, change, breach) => {
    expect(
      findBreaches(createEvidence(change)).find(found => breach.test(found)),
      findBreaches(createEvidence(change)).join('\n'),
    ).toBeDefined()
  })

  test.each<[title: string, change: Partial<Evidence>]>([
    ['an unknown row whose job was found later', withRow('d', row('d'))],
    ['a canceled row whose job was found later', withRow('g', { upstreamId: 'u-g', submission: 'accepted' })],
    ['an unknown submit that timed out', { killTimes: [], timedOutSubmits: new Set(['e']) }],
    ['a retry that was rejected', withRequests(all => [...all, { ...all[1]!, key: 'k-x', ids: [] }])],
    [
      'a cancel just before a restart whose repetition was answered ALREADY_FINISHED',
      {
        cancels: createEvidence().cancels.map(one =>
          one.id === 'g' ? { ...one, mayStillBeCharged: null } : one,
        ),
      },
    ],
  ])('accepts %s', (_, change) => {
    expect(findBreaches(createEvidence(change))).toEqual([])
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
])('a job that ended as %j is reported as %s', (end, reported) => {
  expect(expectedOutcome(job('a', end))).toBe(reported)
})

test('a marker is found in its prompt', () => {
  expect(findMarker(`a ${createMarker('one', 12)} sim:seconds=0.3`)).toBe(createMarker('one', 12))
})

const LINE = '{"level":30,"msg":"submitted"}\n'
test.each([
  ['log lines only', LINE, []],
  ['a last line that a kill cut short', `${LINE}{"level":30,"ms`, []],
  ['a prompt', `${LINE}{"level":20,"prompt":"a heron-one-1"}\n`, [/^SECRET IN LOG "heron"/]],
  ['a prompt in a line that was cut short', `${LINE}{"level":20,"prompt":"a heron-o`, [/^SECRET IN LOG/]],
  ['an error', `${LINE}{"level":50,"msg":"unexpected error in a worker job"}\n`, [/^LOGGED AN ERROR/]],
  ['another line', `Error: x\n${LINE}`, [/^NOT A LOG LINE: Error/]],
])('the breaches of a log with %s are found', (_, log, breaches) => {
  expect(findLogBreaches(log, ['heron'])).toEqual(breaches.map(breach => expect.stringMatching(breach)))
})

test('the POSTs that timed out are found in the log', () => {
  const line = (fields: object) => `${JSON.stringify({ level: 40, ...fields })}\n`
  const log = [
    line({ prediction: 'a', outcome: 'unknown', ms: 1500 }),
    line({ prediction: 'b', outcome: 'unknown', ms: 20 }),
    line({ prediction: 'c', outcome: 'throttled', ms: 2000 }),
  ]
  expect(findTimedOutSubmits(log.join(''), 1500)).toEqual(['a'])
})

test.each([FOUND_IN_LIST_MESSAGE, CONFIRMED_BY_WEBHOOK_MESSAGE])('the gateway logs "%s"', message => {
  const sources = globSync('src/workers/*.ts').map(file => readFileSync(file, 'utf8'))
  expect(sources.some(source => source.includes(`'${message}'`))).toBe(true)
})
