import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { beforeAll, expect, test } from 'vitest'
import { filesIn, returnsIn } from '../support/trips/count.ts'
import { instrumentSource } from '../support/trips/instrument-source.ts'
import type { Trip } from '../support/trips/recorder.ts'

/** Max files that a trip enters, and max returns to a file that it has left. */
const LIMITS = [
  ['submit', 27, 36],
  ['upload', 27, 35],
  ['resumed feed', 35, 91],
  ['event over WebSocket', 16, 11],
  ['event over SSE', 16, 11],
] as const

let trips: Record<string, Trip>

/** The trips are those of the code, whatever runs it. Node 22 does not parse the `await using` of their measurement. */
const isMeasurable = Number.parseInt(process.versions.node, 10) >= 24

beforeAll(async () => {
  if (!isMeasurable) return
  const run = promisify(execFile)
  const { stdout } = await run(process.execPath, [
    '--import',
    './test/support/trips/register.ts',
    'test/support/trips/main.ts',
    '--json',
  ])
  trips = JSON.parse(stdout)
}, 60_000)

test.runIf(isMeasurable).each(LIMITS)(
  'the trip "%s" enters at most %i files and returns at most %i times',
  (name, files, returns) => {
    const trip = trips[name]!
    expect(filesIn(trip), trip.path.join('\n')).toBeLessThanOrEqual(files)
    expect(returnsIn(trip), trip.path.join('\n')).toBeLessThanOrEqual(returns)
  },
)

test.runIf(isMeasurable)('every trip is measured from its entry', () => {
  const starts = Object.entries(trips).map(([name, { path }]) => [name, path[0]])
  expect(Object.fromEntries(starts)).toEqual({
    submit: 'server/http/http-server.ts',
    upload: 'server/http/http-server.ts',
    'resumed feed': 'server/http/http-server.ts',
    'event over WebSocket': 'store/sqlite/events.ts',
    'event over SSE': 'store/sqlite/events.ts',
  })
})

test('a return is an entry into a file that was left', () => {
  expect(filesIn({ path: ['a', 'b', 'a', 'c', 'b'] })).toBe(3)
  expect(returnsIn({ path: ['a', 'b', 'a', 'c', 'b'] })).toBe(2)
})

test('every kind of function is seen at its start, and no line moves', () => {
  const source = `
    function declared(a: number = 1) { return a }
    const arrow = (a: number) => ({ a })
    const list = (a: number) => (a, a)
    class Class {
      #a = 1
      constructor() { this.method() }
      get accessor() { return this.#a }
      method() { return (() => this.#a)() }
    }
    declared(); arrow(1); list(1); new Class().accessor;
    ({ start() {} }).start()`
  const seen: string[] = []
  const code = instrumentSource(source, textBefore => `see('${/\w*$/.exec(textBefore)![0]}')`)
  new Function('see', code)((name: string) => seen.push(name))
  expect(seen).toEqual(['', '', '', 'constructor', 'method', '', 'accessor', 'start'])
  expect(code.split('\n')).toHaveLength(source.split('\n').length)
})
