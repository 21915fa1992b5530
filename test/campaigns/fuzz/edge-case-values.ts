/**
 * JSON values that code often mishandles.
 */
import fc from 'fast-check'

/** Deeper values overflow the reader's stack. */
const NESTING_DEPTH = 150

function nest(wrap: (value: unknown) => unknown): unknown {
  let value: unknown = 'x'
  for (let i = 0; i < NESTING_DEPTH; i++) value = wrap(value)
  return value
}

export const EDGE_CASE_VALUES: readonly unknown[] = [
  null,
  true,
  '',
  0,
  -1,
  2 ** 31,
  2 ** 53,
  1e308,
  1.5,
  '\ud800',
  'a\udfff',
  '\u0000',
  '__proto__',
  [],
  {},
  [[]],
  [null],
  { toString: 1, valueOf: 2, toJSON: 3, constructor: 4 },
  { length: 1e9 },
  JSON.parse('{"then": 1}'),
  JSON.parse('{"__proto__": {"polluted": true}, "constructor": {"prototype": {"polluted": true}}}'),
  nest(value => [value]),
  nest(value => ({ a: value })),
  'x'.repeat(500),
  'x'.repeat(100_000),
]

export const edgeCases: fc.Arbitrary<unknown> = fc.oneof(fc.constantFrom(...EDGE_CASE_VALUES), fc.jsonValue())
