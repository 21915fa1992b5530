import { randomBytes } from 'node:crypto'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { AppId, LogPosition } from '../../src/domain/prediction.ts'
import { createCursors } from '../../src/events/cursor.ts'

const KEY = Buffer.from('000102030405060708090a0b0c0d0e0f', 'hex')
const EPOCH = Buffer.from('f00dfeedcafe0001', 'hex')
const APP = 'an app' as AppId
const cursors = createCursors(KEY, EPOCH)(APP)
const MAX_SEQ = 2 ** 40 - 1
const seq = fc.oneof(fc.nat(1000), fc.integer({ min: 0, max: MAX_SEQ }))
const mark = fc.oneof(fc.constant(null), fc.integer({ min: 1, max: 2 ** 32 - 1 }))
const position = fc.record({ seq, mark })
const at = (n: number, itsMark: number | null = 5): LogPosition => ({ seq: n, mark: itsMark })

test('a cursor decodes to the position it was encoded from', () => {
  fc.assert(
    fc.property(position, each => {
      expect(cursors.decode(cursors.encode(each))).toEqual(each)
    }),
  )
  for (const n of [0, 1, MAX_SEQ])
    for (const itsMark of [null, 1, 2 ** 31, 2 ** 32 - 1])
      expect(cursors.decode(cursors.encode(at(n, itsMark)))).toEqual(at(n, itsMark))
  expect(cursors.decode(cursors.encode(at(2 ** 48 - 1, null)))).toEqual(at(2 ** 48 - 1, null))
})

test('a cursor of the release before migration 0010 is still valid', () => {
  // Made by that release with this key, epoch and app: seq 0, 7 and 2 ** 48 - 1, and a cursor of the head 7.
  const old = [
    [0, 'DjQ6fM0RxNuEf2Xld945-w'],
    [7, 'tXQexw2zM5JxTZ_ii8WTvQ'],
    [281474976710655, '-3AFnSm5WHyIBzqVDviVBw'],
    [7, 'ijAyN8gTwdgjIoJVt60TtQ'],
  ] as const
  for (const [n, cursor] of old) expect(cursors.decode(cursor)).toEqual(at(n, null))
})

test('two events with one seq have different cursors, so another history is noticed', () => {
  expect(cursors.encode(at(7, 1))).not.toBe(cursors.encode(at(7, 2)))
  expect(cursors.encode(at(7, 1))).not.toBe(cursors.encode(at(7, null)))
})

test('a position has one cursor, short and safe in a URL', () => {
  expect(cursors.encode(at(7))).toBe(createCursors(KEY, EPOCH)(APP).encode(at(7)))
  fc.assert(fc.property(position, each => /^[\w-]{22}$/.test(cursors.encode(each))))
})

test('cursors of neighbouring seqs look unrelated, so a cursor reveals no numbers', () => {
  const all = Array.from({ length: 500 }, (_, n) => cursors.encode(at(n)))
  expect(new Set(all.map(cursor => cursor.slice(0, 6))).size).toBe(500)
  expect(new Set(all.map(cursor => cursor.slice(-6))).size).toBe(500)
})

test('a cursor of another epoch, key or app is invalid', () => {
  const otherEpoch = createCursors(KEY, Buffer.from('f00dfeedcaff0001', 'hex'))(APP)
  const otherKey = createCursors(randomBytes(16), EPOCH)(APP)
  const otherApp = createCursors(KEY, EPOCH)('another app' as AppId)
  fc.assert(
    fc.property(position, each => {
      for (const other of [otherEpoch, otherKey, otherApp]) {
        expect(other.decode(cursors.encode(each))).toBeNull()
        expect(cursors.decode(other.encode(each))).toBeNull()
      }
    }),
  )
})

test('garbage is an invalid cursor', () => {
  const valid = cursors.encode(at(1))
  const garbage = [
    '',
    'nonsense',
    'A'.repeat(22),
    `${valid}A`,
    valid.slice(1),
    ` ${valid}`,
    `${valid}\n`,
    `${valid}==`,
  ]
  for (const text of garbage) expect(cursors.decode(text), text).toBeNull()
  fc.assert(fc.property(fc.string({ unit: 'binary', maxLength: 40 }), text => cursors.decode(text) === null))
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 16, maxLength: 16 }),
      bytes => cursors.decode(Buffer.from(bytes).toString('base64url')) === null,
    ),
  )
})

test('a cursor with one changed character is invalid, even if the change is in unused bits', () => {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+/='
  const valid = cursors.encode(at(42))
  for (let i = 0; i < valid.length; i++)
    for (const character of alphabet)
      if (character !== valid[i])
        expect(cursors.decode(valid.slice(0, i) + character + valid.slice(i + 1))).toBeNull()
})

test('the head has a different cursor each time, and each decodes to it', () => {
  const heads = Array.from({ length: 100 }, () => cursors.encodeHead(at(7)))
  expect(new Set(heads).size).toBe(100)
  for (const head of heads) expect(cursors.decode(head)).toEqual(at(7))
})

test('the cursor of an event is the same each time, and differs from those of the head', () => {
  expect(cursors.encode(at(7))).toBe(cursors.encode(at(7)))
  expect(cursors.encodeHead(at(7))).not.toBe(cursors.encode(at(7)))
  expect(cursors.decode(cursors.encode(at(0)))).toEqual(at(0))
})
