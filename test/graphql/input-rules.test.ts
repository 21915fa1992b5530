import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { AppId } from '../../src/domain/prediction.ts'
import { createCursors } from '../../src/events/cursor.ts'
import { decodeId, encodeId } from '../../src/graphql/global-id.ts'
import {
  metadataSchema,
  nameUpTo,
  optionalTextUpTo,
  someTextUpTo,
  tagListSchema,
  textUpTo,
} from '../../src/graphql/input-rules.ts'
import { parsePageArguments } from '../../src/graphql/pagination.ts'
import { parseFilter } from '../../src/graphql/prediction-filter.ts'
import { UNKNOWN_ID } from '../support/store.ts'

const MEGABYTE = 'a'.repeat(1024 * 1024)

describe('a value that is too long', () => {
  const readers = () => [
    vi.spyOn(Buffer, 'from'),
    vi.spyOn(JSON, 'stringify'),
    vi.spyOn(Date, 'parse'),
    vi.spyOn(String.prototype, Symbol.iterator as never),
    vi.spyOn(String.prototype, 'isWellFormed'),
    vi.spyOn(String.prototype, 'trim'),
  ]
  let spies: ReturnType<typeof readers>
  beforeEach(() => {
    spies = readers()
  })
  afterEach(() => vi.restoreAllMocks())

  test.each([
    ['an id', () => decodeId(MEGABYTE).id === ''],
    ['a cursor of the feed', () => createCursors(KEY, EPOCH)('' as AppId).decode(MEGABYTE) === null],
    ['a cursor of a list', () => isRejected(() => parsePageArguments({ after: MEGABYTE }))],
    ['a URL', () => !textUpTo(4096, [text => text.trim() === '', 'x']).safeParse(MEGABYTE).success],
    ['a prompt', () => !someTextUpTo(5000).safeParse(MEGABYTE).success],
    ['a negative prompt', () => !optionalTextUpTo(5000).safeParse(MEGABYTE).success],
    ['an idempotency key', () => !nameUpTo(255).safeParse(MEGABYTE).success],
    ['a tag', () => !tagListSchema.safeParse([MEGABYTE]).success],
    ['a list of tags', () => !tagListSchema.safeParse(Array(11).fill(' ')).success],
    ['a tag of a filter', () => parseFilter({ tags: [MEGABYTE] }).tags?.length === 0],
    ['a text in metadata', () => !metadataSchema.safeParse([MEGABYTE]).success],
    ['a name in metadata', () => !metadataSchema.safeParse({ [MEGABYTE]: 1 }).success],
    ['a list in metadata', () => !metadataSchema.safeParse(Array(4097).fill(1)).success],
  ])('is rejected by its length alone: %s', (_, isRejectedValue) => {
    const isRejectedByLength = isRejectedValue()
    const counts = spies.map(spy => spy.mock.calls.length)
    vi.restoreAllMocks()
    expect(isRejectedByLength).toBe(true)
    expect(counts).toEqual(spies.map(() => 0))
  })
})

const KEY = Buffer.alloc(16)
const EPOCH = Buffer.alloc(8)

function isRejected(work: () => unknown): boolean {
  try {
    work()
    return false
  } catch {
    return true
  }
}

test.each([
  [5, '🎥🎥🎥🎥🎥', true],
  [5, '🎥🎥🎥🎥🎥🎥', false],
  [5, 'abcde', true],
  [5, 'abcdef', false],
  [5, '', false],
])('a name up to %i characters counts code points: %j', (max, text, isValid) => {
  expect(nameUpTo(max).safeParse(text).success).toBe(isValid)
})

test.each([
  ['text of 4 KiB', 'a'.repeat(4094), true],
  ['text above 4 KiB', 'a'.repeat(4095), false],
  ['text above 4 KiB in UTF-8', '漢'.repeat(1365), false],
  ['text above 4 KiB when it is escaped', '"'.repeat(2048), false],
  ['lists of many levels', JSON.parse(`${'['.repeat(2000)}${']'.repeat(2000)}`), true],
  ['lists of too many levels', JSON.parse(`${'['.repeat(3000)}${']'.repeat(3000)}`), false],
])('metadata up to 4 KiB of JSON is valid: %s', (_, value, isValid) => {
  expect(metadataSchema.safeParse(value).success).toBe(isValid)
})

test('the longest global id is decoded', () => {
  expect(decodeId(encodeId('Prediction', UNKNOWN_ID))).toEqual({ typename: 'Prediction', id: UNKNOWN_ID })
})
