/**
 * The kinds of faults, with their weights.
 * Invariant: a fault may hide, delay or truncate the true answer. It never gives a false one: no final status that the job
 * does not have, and no id but its own.
 */
import type { Fault } from './fault.ts'
import type { SeededRandom } from './seeded-random.ts'

export interface FaultKind {
  weight: number
  /** Paths it applies to. Undefined: all paths of its table. */
  path?: RegExp
  /** Applies only to this many first calls of a path. */
  firstCalls?: number
  /** Applies once per path. */
  once?: true
  make(random: SeededRandom): Fault
}

/** `certainOutcome` is what a client can know after a submit with this fault: a job exists, no job exists, or neither. */
export interface SubmitFaultKind extends FaultKind {
  certainOutcome: 'accepted' | 'refused' | 'unknown'
}

const JSON_TYPE = { 'content-type': 'application/json' }
const HTML = {
  body: '<html><body><h1>Bad gateway</h1></body></html>',
  headers: { 'content-type': 'text/html' },
}
const errorBody = (code: number) => JSON.stringify({ code, message: 'a simulated fault', data: null })
const SLOW_MS = [50, 4000] as const
const OTHER_STATUSES = ['pending', 'queued', 'starting', 'running', 'in_progress', 'sparkling']
/** Fields that may be null: not the job's id, and not its outputs. */
const NULLABLE_FIELDS = [
  'model',
  'urls',
  'has_nsfw_contents',
  'status',
  'created_at',
  'error',
  'executionTime',
  'timings',
]

type Data = Record<string, unknown>
const rewrite = (change: (data: Data) => unknown): Fault => ({
  rewrite(body) {
    const { data, ...rest } = JSON.parse(body) as { data: Data | null }
    return JSON.stringify({ ...rest, data: data && change(data) })
  },
})

const serverError = (random: SeededRandom, after: boolean): Fault => {
  const status = random.pick([500, 502, 503, 504])
  const content = random.chance(1 / 2) ? HTML : { body: errorBody(status), headers: JSON_TYPE }
  return { status, ...content, after }
}
const throttled = (retryAfter?: number): Fault => ({
  status: 429,
  body: errorBody(429),
  headers: { ...JSON_TYPE, ...(retryAfter && { 'retry-after': `${retryAfter}` }) },
})
const truncated = (): Fault => ({ rewrite: body => body.slice(0, body.length / 2) })
const withByteOrderMark = (): Fault => ({ rewrite: body => `\uFEFF${body}` })
const blanksInOutputs = (): Fault =>
  rewrite(({ outputs, ...data }) => ({
    ...data,
    outputs: Array.isArray(outputs) ? outputs.map(url => ` ${url}\r\n`) : outputs,
  }))
const slow = (random: SeededRandom, late: 'before' | 'after'): Fault => ({
  late,
  ms: random.between(...SLOW_MS),
})
const otherStatus = (random: SeededRandom): Fault => {
  const status = random.pick(OTHER_STATUSES)
  return rewrite(data => ({ ...data, status }))
}
const nulls = (random: SeededRandom, apply: (data: Data, toNull: (data: Data) => Data) => unknown): Fault => {
  const nullFields = Object.fromEntries(
    NULLABLE_FIELDS.filter(() => random.chance(1 / 2)).map(name => [name, null]),
  )
  return rewrite(data => apply(data, object => ({ ...object, ...nullFields })))
}
const itemsOf = (data: Data): Data[] => (Array.isArray(data.items) ? data.items : [])

export const SUBMIT_FAULTS: Readonly<Record<string, SubmitFaultKind>> = {
  'reset before': { weight: 2, certainOutcome: 'unknown', make: () => ({ cut: 'before' }) },
  'reset after': { weight: 3, certainOutcome: 'unknown', make: () => ({ cut: 'after' }) },
  'reset amid': { weight: 1, certainOutcome: 'unknown', make: () => ({ cut: 'amid' }) },
  'stall before': { weight: 1, certainOutcome: 'unknown', make: () => ({ stall: 'before' }) },
  'stall after': { weight: 1, certainOutcome: 'unknown', make: () => ({ stall: 'after' }) },
  'stall amid': { weight: 1, certainOutcome: 'unknown', make: () => ({ stall: 'amid' }) },
  'slow before': { weight: 2, certainOutcome: 'unknown', make: random => slow(random, 'before') },
  'slow after': { weight: 2, certainOutcome: 'unknown', make: random => slow(random, 'after') },
  'answered after its webhook': {
    weight: 3,
    certainOutcome: 'unknown',
    make: () => ({ heldUntil: 'announced' }),
  },
  '429': { weight: 2, certainOutcome: 'refused', make: random => throttled(random.between(1, 2)) },
  '429 bare': { weight: 1, certainOutcome: 'refused', make: () => throttled() },
  '5xx before': { weight: 2, certainOutcome: 'unknown', make: random => serverError(random, false) },
  '5xx after': { weight: 3, certainOutcome: 'unknown', make: random => serverError(random, true) },
  'redirect after': {
    weight: 1,
    certainOutcome: 'unknown',
    make: () => ({ status: 302, body: '', headers: { location: '/elsewhere' }, after: true }),
  },
  'HTML before': { weight: 1, certainOutcome: 'unknown', make: () => ({ status: 200, ...HTML }) },
  'HTML after': { weight: 2, certainOutcome: 'unknown', make: () => ({ status: 200, ...HTML, after: true }) },
  'truncated JSON': { weight: 2, certainOutcome: 'unknown', make: truncated },
  'null data': { weight: 1, certainOutcome: 'unknown', make: () => rewrite(() => null) },
  'empty id': { weight: 1, certainOutcome: 'unknown', make: () => rewrite(data => ({ ...data, id: '' })) },
  gzip: { weight: 1, certainOutcome: 'accepted', make: () => ({ encoding: 'gzip' }) },
  'byte order mark': { weight: 1, certainOutcome: 'accepted', make: withByteOrderMark },
  'strange status': { weight: 1, certainOutcome: 'accepted', make: otherStatus },
  nulls: {
    weight: 1,
    certainOutcome: 'accepted',
    make: random => nulls(random, (data, toNull) => toNull(data)),
  },
}

const RESULT_PATH = /\/result$/
const LIST_PATH = /^\/predictions$/
/** All paths but the PUT of a file. Its client reads only the status, so a false 200 would be a false answer. */
const NOT_FILE_PUT_PATH = /^\/(?!media\/files\/)/
export const READ_FAULTS: Readonly<Record<string, FaultKind>> = {
  reset: { weight: 2, make: () => ({ cut: 'before' }) },
  'reset amid': { weight: 1, make: () => ({ cut: 'amid' }) },
  stall: { weight: 1, make: () => ({ stall: 'before' }) },
  'stall amid': { weight: 1, make: () => ({ stall: 'amid' }) },
  slow: { weight: 2, make: random => slow(random, 'before') },
  '429': { weight: 1, make: random => throttled(random.between(1, 2)) },
  '429 bare': { weight: 1, make: () => throttled() },
  '5xx': { weight: 3, make: random => serverError(random, false) },
  HTML: { weight: 1, path: NOT_FILE_PUT_PATH, make: () => ({ status: 200, ...HTML }) },
  'truncated JSON': { weight: 1, make: truncated },
  'null data': { weight: 1, make: () => rewrite(() => null) },
  gzip: { weight: 2, make: () => ({ encoding: 'gzip' }) },
  'byte order mark': { weight: 1, make: withByteOrderMark },
  'blanks in outputs': { weight: 2, path: RESULT_PATH, make: blanksInOutputs },
  'not found yet': {
    weight: 4,
    path: RESULT_PATH,
    firstCalls: 3,
    make: () => ({ status: 404, body: errorBody(404), headers: JSON_TYPE }),
  },
  'no outputs yet': {
    weight: 2,
    path: RESULT_PATH,
    once: true,
    make: () => rewrite(data => ({ ...data, outputs: [] })),
  },
  'strange status': { weight: 2, path: RESULT_PATH, make: otherStatus },
  nulls: { weight: 2, path: RESULT_PATH, make: random => nulls(random, (data, toNull) => toNull(data)) },
  'nulls in items': {
    weight: 1,
    path: LIST_PATH,
    make: random => nulls(random, (data, toNull) => ({ ...data, items: itemsOf(data).map(toNull) })),
  },
  'no inputs': {
    weight: 2,
    path: LIST_PATH,
    make: () => rewrite(data => ({ ...data, items: itemsOf(data).map(({ input: _, ...item }) => item) })),
  },
}
