import { createHmac, generateKeyPairSync, randomBytes, sign } from 'node:crypto'
import fc from 'fast-check'
import { SignJWT } from 'jose'
import { describe, expect, test } from 'vitest'
import { createTokens, type NewToken } from '../../src/auth/access-token.ts'
import {
  createRestriction,
  createScope,
  PERMISSIONS,
  writeOnlyRestriction,
} from '../../src/domain/access-scope.ts'
import type { AppId } from '../../src/domain/prediction.ts'
import { HOUR, MINUTE, SECOND, T } from '../support/store.ts'

const SECRET = randomBytes(32)
const NEW_TOKEN: NewToken = {
  appId: 'app' as AppId,
  keyPrefix: 'rsh_12345678',
  permissions: ['READ'],
  restriction: { tags: ['a'], ids: ['p'] },
  maxSubmits: 3,
  expiresAt: T + MINUTE,
}

function tokenFixture() {
  let now = T
  return {
    tokens: createTokens(SECRET, () => now),
    at(moment: number) {
      now = moment
    },
  }
}

const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')
const decode = (part: string) => JSON.parse(String(Buffer.from(part, 'base64url')))
const BASE64 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
const HEADER = { alg: 'HS256', typ: 'at+jwt' }

/** A token with any content, signed with the right key. */
const signed = (payload: unknown, header: object = HEADER, secret: Uint8Array = SECRET, hash = 'sha256') => {
  const text = `${encode(header)}.${encode(payload)}`
  return `${text}.${createHmac(hash, secret).update(text).digest('base64url')}`
}

test('a minted token is verified with the access that was requested', async () => {
  const { tokens } = tokenFixture()
  const access = await tokens.verify(await tokens.mint(NEW_TOKEN))
  expect(access).toEqual({
    scope: createScope('app' as AppId, createRestriction(['a'], ['p'])),
    permissions: ['READ'],
    grant: { tokenId: expect.stringMatching(/^[\da-f-]{36}$/), tags: ['a'], maxSubmits: 3 },
    keyPrefix: 'rsh_12345678',
    expiresAt: T + MINUTE,
  })
})

test('any minted token is verified with the access that was requested, each with its own id', async () => {
  const { tokens } = tokenFixture()
  const texts = fc.array(fc.string({ unit: 'binary' }), { maxLength: 4 })
  const request = fc.record({
    permissions: fc.uniqueArray(fc.constantFrom(...PERMISSIONS)),
    restriction: fc.option(fc.record({ tags: texts, ids: texts })),
    maxSubmits: fc.nat(10_000),
  })
  const ids = new Set<string>()
  let count = 0
  await fc.assert(
    fc.asyncProperty(request, async ({ permissions, restriction, maxSubmits }) => {
      const access = await tokens.verify(
        await tokens.mint({ ...NEW_TOKEN, permissions, restriction, maxSubmits }),
      )
      const { tags = [], ids: named = [] } = restriction ?? {}
      const reads = permissions.includes('READ')
      const expected = reads
        ? restriction && createRestriction(tags, named)
        : writeOnlyRestriction(tags, named)
      expect(access?.scope).toEqual(createScope('app' as AppId, expected))
      expect(access?.permissions).toEqual(permissions)
      expect(access?.grant).toMatchObject({ maxSubmits, tags: createRestriction(tags, []).tags })
      ids.add(access!.grant!.tokenId)
      count++
    }),
    { numRuns: 50 },
  )
  expect(ids.size).toBe(count)
})

test('a token contains only claims that a browser may read', async () => {
  const { tokens } = tokenFixture()
  const [header, payload] = (await tokens.mint(NEW_TOKEN)).split('.')
  expect(decode(header!)).toEqual(HEADER)
  expect(decode(payload!)).toEqual({
    jti: expect.any(String),
    sub: 'app',
    iat: T / SECOND,
    exp: (T + MINUTE) / SECOND,
    key: 'rsh_12345678',
    may: ['READ'],
    max: 3,
    only: { tags: ['a'], ids: ['p'] },
  })
})

test('a token has its expiry before and after it: an expired token is still verified', async () => {
  const { tokens, at } = tokenFixture()
  const token = await tokens.mint(NEW_TOKEN)
  for (const moment of [T - HOUR, T, T + MINUTE, T + HOUR]) {
    at(moment)
    expect((await tokens.verify(token))?.expiresAt).toBe(T + MINUTE)
  }
})

describe('a token that the gateway has not signed is invalid', () => {
  const claimsOf = async () => decode((await tokenFixture().tokens.mint(NEW_TOKEN)).split('.')[1]!)

  test('the forging helper makes a valid token with our key', async () => {
    expect(await tokenFixture().tokens.verify(signed(await claimsOf()))).not.toBeNull()
  })

  test.each([
    ['of another key', (claims: object) => signed(claims, HEADER, randomBytes(32))],
    ['of an empty key', (claims: object) => signed(claims, HEADER, new Uint8Array())],
    ['with none', (claims: object) => `${encode({ alg: 'none', typ: 'at+jwt' })}.${encode(claims)}.`],
    ['with none but ours', (claims: object) => signed(claims, { alg: 'none', typ: 'at+jwt' })],
    ['with None but ours', (claims: object) => signed(claims, { alg: 'None', typ: 'at+jwt' })],
    ['without an algorithm', (claims: object) => signed(claims, { typ: 'at+jwt' })],
    [
      'of another length of hash',
      (claims: object) => signed(claims, { alg: 'HS512', typ: 'at+jwt' }, SECRET, 'sha512'),
    ],
    ['of another kind', (claims: object) => signed(claims, { alg: 'HS256', typ: 'JWT' })],
    ['of no kind', (claims: object) => signed(claims, { alg: 'HS256' })],
    ['with an unknown critical header', (claims: object) => signed(claims, { ...HEADER, crit: ['x'], x: 1 })],
    [
      'over an unencoded payload',
      (claims: object) => signed(claims, { ...HEADER, crit: ['b64'], b64: false }),
    ],
    [
      'with a key that it contains',
      (claims: object) => {
        const secret = randomBytes(32)
        const jwk = { kty: 'oct', k: secret.toString('base64url') }
        return signed(claims, { ...HEADER, jwk, kid: '../../dev/null', jku: 'http://127.0.0.1:1' }, secret)
      },
    ],
    [
      'by a pair of keys',
      (claims: object) => {
        const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
        const text = `${encode({ alg: 'RS256', typ: 'at+jwt' })}.${encode(claims)}`
        return `${text}.${sign('sha256', Buffer.from(text), privateKey).toString('base64url')}`
      },
    ],
    [
      'by a pair of keys, called ours',
      (claims: object) => {
        const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
        const text = `${encode(HEADER)}.${encode(claims)}`
        return `${text}.${sign('sha256', Buffer.from(text), privateKey).toString('base64url')}`
      },
    ],
  ])('signed %s', async (_, forge) => {
    expect(await tokenFixture().tokens.verify(forge(await claimsOf()))).toBeNull()
  })

  test('with any part changed, cut, doubled or swapped', async () => {
    const { tokens } = tokenFixture()
    const token = await tokens.mint(NEW_TOKEN)
    const other = await tokens.mint({ ...NEW_TOKEN, restriction: null, permissions: [...PERMISSIONS] })
    const [header, payload, signature] = token.split('.')
    const claims = decode(payload!)
    const forged = [
      `${header}.${other.split('.')[1]}.${signature}`,
      `${header}.${payload}.${other.split('.')[2]}`,
      `${header}.${payload}`,
      `${header}.${payload}.`,
      `${token}.`,
      `${token}.${signature}`,
      `${token}=`,
      ` ${token}`,
      `${token}\n`,
      token.slice(0, -1),
      '..',
      '',
      `${header}.${payload}.${'A'.repeat(100_000)}`,
      `${'A'.repeat(1_000_000)}.${payload}.${signature}`,
    ]
    for (const [claim, value] of [
      ['sub', 'other'],
      ['exp', claims.exp + 1],
      ['key', 'rsh_87654321'],
      ['may', ['READ', 'SUBMIT']],
      ['max', 4],
      ['only', null],
      ['jti', 'fresh'],
    ])
      forged.push(`${header}.${encode({ ...claims, [claim as string]: value })}.${signature}`)
    // The last character of a signature has unused bits. Only one of its texts is accepted.
    for (let i = 0; i < token.length; i++)
      for (const other of i === token.length - 1 ? BASE64 : 'AB')
        if (token[i] !== '.' && token[i] !== other)
          forged.push(token.slice(0, i) + other + token.slice(i + 1))
    for (const each of forged)
      expect([each.slice(0, 500), await tokens.verify(each)]).toEqual([expect.anything(), null])
  })
})

test.each([
  ['jti', undefined],
  ['jti', ''],
  ['sub', undefined],
  ['sub', ''],
  ['sub', 7],
  ['exp', undefined],
  ['exp', 'never'],
  ['key', undefined],
  ['key', ''],
  ['may', undefined],
  ['may', ['READ', 'MINT']],
  ['may', 'READ'],
  ['max', undefined],
  ['max', '3'],
  ['only', undefined],
  ['only', { tags: ['a'] }],
  ['only', { tags: 'a', ids: [] }],
  ['nbf', T / SECOND + 1],
])('signed with our key and `%s` %j a token is invalid all the same', async (claim, value) => {
  const claims = { jti: 'j', sub: 'app', exp: T / SECOND + 60, key: 'k', may: ['READ'], max: 1, only: null }
  expect(await tokenFixture().tokens.verify(signed(claims))).not.toBeNull()
  expect(await tokenFixture().tokens.verify(signed({ ...claims, [claim]: value }))).toBeNull()
})

test('a payload that is not an object, or is encrypted, is invalid', async () => {
  const { tokens } = tokenFixture()
  for (const payload of [null, [], 'text', 7]) expect(await tokens.verify(signed(payload))).toBeNull()
  expect(await tokens.verify('a.b.c.d.e')).toBeNull()
})

test('another database’s token is invalid', async () => {
  const there = createTokens(randomBytes(32), () => T)
  expect(await tokenFixture().tokens.verify(await there.mint(NEW_TOKEN))).toBeNull()
  const token = await new SignJWT({}).setProtectedHeader({ alg: 'HS256', typ: 'at+jwt' }).sign(SECRET)
  expect(await tokenFixture().tokens.verify(token)).toBeNull()
})
