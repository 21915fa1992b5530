/**
 * The kinds of faults there are, and how often each comes beside the others.
 * Invariant: a fault may hide the truth, put it off or cut it short, and never tells another one: no end that the job does
 * not have, no id but its own.
 */
import type { Fault } from './fault.ts'
import type { Random } from './seeded-random.ts'

export interface Kind {
  weight: number
  /** The calls it befalls; all of its table, if it does not say. */
  path?: RegExp
  /** Only among so many first calls of one path. */
  within?: number
  /** Once for one path. */
  once?: true
  make(random: Random): Fault
}

/** What is certain after a submit that met it: that there is a job, that there is none, or neither. */
export interface SubmitKind extends Kind {
  leaves: 'accepted' | 'refused' | 'unknown'
}

const JSON_TYPE = { 'content-type': 'application/json' }
const HTML = {
  body: '<html><body><h1>Bad gateway</h1></body></html>',
  headers: { 'content-type': 'text/html' },
}
const refusal = (code: number) => JSON.stringify({ code, message: 'a simulated fault', data: null })
const SLOW_MS = [50, 4000] as const
const STRANGE = ['pending', 'queued', 'starting', 'running', 'in_progress', 'sparkling']
/** Neither what names the job nor what it brought. */
const MAY_BE_NULL = [
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

const error = (random: Random, after: boolean): Fault => {
  const status = random.pick([500, 502, 503, 504])
  const told = random.chance(1 / 2) ? HTML : { body: refusal(status), headers: JSON_TYPE }
  return { status, ...told, after }
}
const throttled = (retryAfter?: number): Fault => ({
  status: 429,
  body: refusal(429),
  headers: { ...JSON_TYPE, ...(retryAfter && { 'retry-after': `${retryAfter}` }) },
})
const truncated = (): Fault => ({ rewrite: body => body.slice(0, body.length / 2) })
const slow = (random: Random, late: 'before' | 'after'): Fault => ({ late, ms: random.between(...SLOW_MS) })
const strange = (random: Random): Fault => {
  const status = random.pick(STRANGE)
  return rewrite(data => ({ ...data, status }))
}
const nulls = (random: Random, of: (data: Data, toNull: (data: Data) => Data) => unknown): Fault => {
  const none = Object.fromEntries(MAY_BE_NULL.filter(() => random.chance(1 / 2)).map(name => [name, null]))
  return rewrite(data => of(data, one => ({ ...one, ...none })))
}
const itemsOf = (data: Data): Data[] => (Array.isArray(data.items) ? data.items : [])

export const SUBMITS: Readonly<Record<string, SubmitKind>> = {
  'reset before': { weight: 2, leaves: 'unknown', make: () => ({ cut: 'before' }) },
  'reset after': { weight: 3, leaves: 'unknown', make: () => ({ cut: 'after' }) },
  'reset amid': { weight: 1, leaves: 'unknown', make: () => ({ cut: 'amid' }) },
  'stall before': { weight: 1, leaves: 'unknown', make: () => ({ stall: 'before' }) },
  'stall after': { weight: 1, leaves: 'unknown', make: () => ({ stall: 'after' }) },
  'stall amid': { weight: 1, leaves: 'unknown', make: () => ({ stall: 'amid' }) },
  'slow before': { weight: 2, leaves: 'unknown', make: random => slow(random, 'before') },
  'slow after': { weight: 2, leaves: 'unknown', make: random => slow(random, 'after') },
  'answered after its webhook': { weight: 3, leaves: 'unknown', make: () => ({ heldUntil: 'announced' }) },
  '429': { weight: 2, leaves: 'refused', make: random => throttled(random.between(1, 2)) },
  '429 bare': { weight: 1, leaves: 'refused', make: () => throttled() },
  '5xx before': { weight: 2, leaves: 'unknown', make: random => error(random, false) },
  '5xx after': { weight: 3, leaves: 'unknown', make: random => error(random, true) },
  'redirect after': {
    weight: 1,
    leaves: 'unknown',
    make: () => ({ status: 302, body: '', headers: { location: '/elsewhere' }, after: true }),
  },
  'HTML before': { weight: 1, leaves: 'unknown', make: () => ({ status: 200, ...HTML }) },
  'HTML after': { weight: 2, leaves: 'unknown', make: () => ({ status: 200, ...HTML, after: true }) },
  'truncated JSON': { weight: 2, leaves: 'unknown', make: truncated },
  'null data': { weight: 1, leaves: 'unknown', make: () => rewrite(() => null) },
  'empty id': { weight: 1, leaves: 'unknown', make: () => rewrite(data => ({ ...data, id: '' })) },
  'strange status': { weight: 1, leaves: 'accepted', make: strange },
  nulls: { weight: 1, leaves: 'accepted', make: random => nulls(random, (data, toNull) => toNull(data)) },
}

const LOOK = /\/result$/
const LIST = /^\/predictions$/
/** Whoever puts a file reads no more than a status: one that is good and lies would be another truth. */
const SPOKEN = /^\/(?!media\/files\/)/
export const READS: Readonly<Record<string, Kind>> = {
  reset: { weight: 2, make: () => ({ cut: 'before' }) },
  'reset amid': { weight: 1, make: () => ({ cut: 'amid' }) },
  stall: { weight: 1, make: () => ({ stall: 'before' }) },
  'stall amid': { weight: 1, make: () => ({ stall: 'amid' }) },
  slow: { weight: 2, make: random => slow(random, 'before') },
  '429': { weight: 1, make: random => throttled(random.between(1, 2)) },
  '429 bare': { weight: 1, make: () => throttled() },
  '5xx': { weight: 3, make: random => error(random, false) },
  HTML: { weight: 1, path: SPOKEN, make: () => ({ status: 200, ...HTML }) },
  'truncated JSON': { weight: 1, make: truncated },
  'null data': { weight: 1, make: () => rewrite(() => null) },
  'not found yet': {
    weight: 4,
    path: LOOK,
    within: 3,
    make: () => ({ status: 404, body: refusal(404), headers: JSON_TYPE }),
  },
  'no outputs yet': {
    weight: 2,
    path: LOOK,
    once: true,
    make: () => rewrite(data => ({ ...data, outputs: [] })),
  },
  'strange status': { weight: 2, path: LOOK, make: strange },
  nulls: { weight: 2, path: LOOK, make: random => nulls(random, (data, toNull) => toNull(data)) },
  'nulls in items': {
    weight: 1,
    path: LIST,
    make: random => nulls(random, (data, toNull) => ({ ...data, items: itemsOf(data).map(toNull) })),
  },
  'no inputs': {
    weight: 2,
    path: LIST,
    make: () => rewrite(data => ({ ...data, items: itemsOf(data).map(({ input: _, ...item }) => item) })),
  },
}
