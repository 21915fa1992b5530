import { randomBytes } from 'node:crypto'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { AppId } from '../../src/domain/prediction.ts'
import { createCursors } from '../../src/events/cursor.ts'

const KEY = Buffer.from('000102030405060708090a0b0c0d0e0f', 'hex')
const EPOCH = Buffer.from('f00dfeedcafe0001', 'hex')
const APP = 'an app' as AppId
const cursors = createCursors(KEY, EPOCH)(APP)
const MAX_SEQ = 2 ** 48 - 1
const seq = fc.oneof(fc.nat(1000), fc.integer({ min: 0, max: MAX_SEQ }))

test('a cursor decodes to the seq it was encoded from', () => {
  fc.assert(fc.property(seq, n => cursors.decode(cursors.encode(n)) === n))
  for (const n of [0, 1, MAX_SEQ]) expect(cursors.decode(cursors.encode(n))).toBe(n)
})

test('a seq has one cursor, short and safe in a URL', () => {
  expect(cursors.encode(7)).toBe(createCursors(KEY, EPOCH)(APP).encode(7))
  fc.assert(fc.property(seq, n => /^[\w-]{22}$/.test(cursors.encode(n))))
})

test('cursors of neighbouring seqs look unrelated, so a cursor reveals no numbers', () => {
  const all = Array.from({ length: 500 }, (_, n) => cursors.encode(n))
  expect(new Set(all.map(cursor => cursor.slice(0, 6))).size).toBe(500)
  expect(new Set(all.map(cursor => cursor.slice(-6))).size).toBe(500)
})

test('a cursor of another epoch, key or app is invalid', () => {
  const otherEpoch = createCursors(KEY, Buffer.from('f00dfeedcaff0001', 'hex'))(APP)
  const otherKey = createCursors(randomBytes(16), EPOCH)(APP)
  const otherApp = createCursors(KEY, EPOCH)('another app' as AppId)
  fc.assert(
    fc.property(seq, n => {
      for (const other of [otherEpoch, otherKey, otherApp]) {
        expect(other.decode(cursors.encode(n))).toBeNull()
        expect(cursors.decode(other.encode(n))).toBeNull()
      }
    }),
  )
})

test('garbage is an invalid cursor', () => {
  const valid = cursors.encode(1)
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
  const valid = cursors.encode(42)
  for (let i = 0; i < valid.length; i++)
    for (const character of alphabet)
      if (character !== valid[i])
        expect(cursors.decode(valid.slice(0, i) + character + valid.slice(i + 1))).toBeNull()
})

test('the head has a different cursor each time, and each decodes to it', () => {
  const heads = Array.from({ length: 100 }, () => cursors.encodeHead(7))
  expect(new Set(heads).size).toBe(100)
  for (const head of heads) expect(cursors.decode(head)).toBe(7)
})

test('the cursor of an event is the same each time, and differs from those of the head', () => {
  expect(cursors.encode(7)).toBe(cursors.encode(7))
  expect(cursors.encodeHead(7)).not.toBe(cursors.encode(7))
  expect(cursors.decode(cursors.encode(0))).toBe(0)
})
