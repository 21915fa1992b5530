import { describe, expect, test } from 'vitest'
import {
  canSee,
  createRestriction,
  fullScope,
  hasPermission,
  PERMISSIONS,
  restrictionKeyOf,
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
    const scope = { appId, restriction }
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
    expect([restrictionKeyOf(scope), restrictionKeyOf(fullScope(appId))]).toEqual([restriction.key, ''])
  })
})

test('a key has every permission, a token those that it was given', () => {
  for (const permission of PERMISSIONS) {
    expect(hasPermission({ grant: null }, permission)).toBe(true)
    expect(
      hasPermission({ grant: { tags: [], tokenId: 't', maxSubmits: 1, permissions: [] } }, permission),
    ).toBe(false)
    expect(
      hasPermission(
        { grant: { tags: [], tokenId: 't', maxSubmits: 1, permissions: [permission] } },
        permission,
      ),
    ).toBe(true)
  }
  expect(
    hasPermission({ grant: { tags: [], tokenId: 't', maxSubmits: 1, permissions: ['READ'] } }, 'SUBMIT'),
  ).toBe(false)
})
