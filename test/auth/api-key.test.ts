import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createKey, hashesEqual, parseKey } from '../../src/auth/api-key.ts'
import { parseBearer } from '../../src/auth/authenticate.ts'

const readBearer = (authorization: unknown) => parseKey(parseBearer(authorization))

test('a key has a visible prefix and a hash of the whole, and is never the same twice', () => {
  const { key, prefix, hash } = createKey()
  expect(key).toMatch(/^rsh_[\w-]{40}$/)
  expect(prefix).toBe(key.slice(0, 12))
  expect(hash).toBe(createHash('sha256').update(key).digest('hex'))
  const many = Array.from({ length: 200 }, createKey)
  expect(new Set(many.map(made => made.prefix)).size).toBe(200)
  expect(new Set(many.map(made => made.hash)).size).toBe(200)
})

test('a key in the header is parsed to its prefix and hash', () => {
  for (let i = 0; i < 50; i++) {
    const { key, prefix, hash } = createKey()
    for (const header of [`Bearer ${key}`, `bearer ${key}`, `BEARER   ${key}`])
      expect(readBearer(header)).toEqual({ prefix, hash })
  }
})

test('a text without the form of a key is invalid', () => {
  const { key } = createKey()
  const headers = [
    undefined,
    null,
    42,
    {},
    [`Bearer ${key}`],
    '',
    'Bearer',
    'Bearer ',
    key,
    `Basic ${key}`,
    `Bearer${key}`,
    ` Bearer ${key}`,
    `Bearer ${key} `,
    `Bearer ${key}\n`,
    `Bearer ${key}, Bearer ${key}`,
    `Bearer ${key}x`,
    `Bearer ${key.slice(0, -1)}`,
    `Bearer ${key.slice(0, -1)}é`,
    `Bearer ${key.slice(0, -1)}.`,
    `Bearer RSH_${key.slice(4)}`,
  ]
  for (const header of headers) expect(readBearer(header), String(header)).toBeNull()
  fc.assert(fc.property(fc.anything(), anything => readBearer(anything) === null))
  fc.assert(fc.property(fc.string({ unit: 'binary' }), text => readBearer(`Bearer ${text}`) === null))
})

test('hashesEqual compares texts of any length', () => {
  const { hash } = createKey()
  expect(hashesEqual(hash, `${hash}`)).toBe(true)
  expect(hashesEqual('', '')).toBe(true)
  for (const other of [createKey().hash, '', hash.slice(1), `${hash}0`, hash.toUpperCase()])
    expect(hashesEqual(hash, other)).toBe(false)
  const hex = fc.stringMatching(/^[\da-f]{0,4}$/)
  fc.assert(fc.property(hex, hex, (a, b) => hashesEqual(a, b) === (a === b)))
})
