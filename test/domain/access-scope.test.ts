import { describe, expect, test } from 'vitest'
import {
  canSee,
  createRestriction,
  createScope,
  fullScope,
  mayFollow,
  mayUpload,
  PERMISSIONS,
  writeOnlyRestriction,
} from '../../src/domain/access-scope.ts'
import type { AppId } from '../../src/domain/prediction.ts'
import { newPrediction } from '../support/store.ts'

describe('a restriction', () => {
  test('has one key for the same tags and ids in any order, however often, and another key for any others', () => {
    const name = (tags: string[], ids: string[] = []) => createRestriction(tags, ids).key
    expect(name(['a', 'b'], ['p', 'q'])).toBe(name(['b', 'a'], ['q', 'p']))
    expect(name(['a', 'a', 'b'], ['p', 'p'])).toBe(name(['a', 'b'], ['p']))
    expect(createRestriction(['b', 'a', 'b'], ['q', 'p'])).toEqual(createRestriction(['a', 'b'], ['p', 'q']))
    const names = [
      name(['a']),
      name(['b']),
      name(['a', 'b']),
      name(['a,b']),
      name(['a","b']),
      name([], ['a']),
      name(['a'], ['a']),
      name(['A']),
      name(['a\u0000']),
    ]
    expect(new Set(names).size).toBe(names.length)
    for (const each of names) expect(each).toMatch(/^[\w-]{22}$/)
  })

  test('sees predictions of its app with one of its tags or ids, or submitted under the same restriction', () => {
    const appId = 'app' as AppId
    const restriction = createRestriction(['a', 'b'], ['p'])
    const scope = createScope(appId, restriction)
    const isVisible = (over: object) => canSee(scope, newPrediction({ id: 'x', ...over }))
    expect(isVisible({ tags: ['b', 'c'] })).toBe(true)
    expect(isVisible({ id: 'p' })).toBe(true)
    expect(isVisible({ restrictionKey: restriction.key })).toBe(true)
    expect(isVisible({ tags: ['c'] })).toBe(false)
    expect(isVisible({ tags: [] })).toBe(false)
    expect(isVisible({ tags: ['p'] })).toBe(false)
    expect(isVisible({ id: 'a' })).toBe(false)
    expect(isVisible({ restrictionKey: createRestriction(['a'], ['p']).key })).toBe(false)
    for (const over of [{ tags: ['a'] }, { id: 'p' }, { restrictionKey: restriction.key }])
      expect(isVisible({ appId: 'other', ...over })).toBe(false)
    expect(canSee(fullScope(appId), newPrediction({ tags: ['c'], restrictionKey: 'x' }))).toBe(true)
    expect(canSee(fullScope(appId), newPrediction({ appId: 'other' as AppId }))).toBe(false)
    expect([scope.restrictionKey, fullScope(appId).restrictionKey]).toEqual([restriction.key, ''])
  })
})

test('no tags give a token that may read the key of tokens that may not, whose stored keys stay as they are', () => {
  for (const [tags, ids] of [
    [[], []],
    [['a'], []],
    [['a', 'b'], ['p']],
  ] as const) {
    const writeOnly = writeOnlyRestriction(tags, ids)
    const named = ['without READ', ...tags.map(tag => `tag ${tag}`)]
    expect(createRestriction(named, ids).key).not.toBe(writeOnly.key)
    expect([writeOnly.tags, writeOnly.ids]).toEqual([[], ids])
  }
  // As in rows of earlier versions.
  expect([
    writeOnlyRestriction([], []).key,
    writeOnlyRestriction(['b', 'a'], ['p']).key,
    createRestriction(['a'], ['p']).key,
  ]).toEqual(['7A_hN7UQrviKOcam7ipsmX', 'XKleUN8Ap8x_dL39Zh0yB0', '3rybaAcFdqDFily9XrqJX4'])
})

test('a token without READ may follow what it submitted itself and the ids that it names; any other caller what it sees', () => {
  const appId = 'app' as AppId
  const grant = { tokenId: 't', tags: [], maxSubmits: 1 }
  const scope = createScope(appId, writeOnlyRestriction([], ['named']))
  const may = (
    id: string,
    tokenId: string | null,
    permissions: readonly ('READ' | 'SUBMIT')[] = ['SUBMIT'],
  ) => mayFollow({ permissions, grant, scope }, newPrediction({ id, tokenId }))
  expect([may('p', 't'), may('named', 'other'), may('p', 'other'), may('p', null)]).toEqual([
    true,
    true,
    false,
    false,
  ])
  expect(may('p', 'other', ['READ', 'SUBMIT'])).toBe(true)
  expect(
    mayFollow({ permissions: PERMISSIONS, grant: null, scope: fullScope(appId) }, newPrediction({})),
  ).toBe(true)
})

test('only a caller that may submit may upload', () => {
  const grant = { tags: [], tokenId: 't', maxSubmits: 1 }
  expect(mayUpload({ permissions: PERMISSIONS, grant: null })).toBe(true)
  expect(mayUpload({ permissions: ['SUBMIT'], grant })).toBe(true)
  expect(mayUpload({ permissions: ['READ'], grant })).toBe(false)
  expect(mayUpload({ permissions: ['SUBMIT'], grant: { ...grant, maxSubmits: 0 } })).toBe(false)
})
