import { describe, expect, test } from 'vitest'
import { type Filter, matchesFilter } from '../../src/domain/prediction-filter.ts'
import { newPrediction, T } from '../support/store.ts'

describe('a filter', () => {
  const p = newPrediction({ id: 'a', status: 'FAILED', tags: ['red', 'blue'] })
  test.each<[string, Filter, boolean]>([
    ['no fields match everything', {}, true],
    ['ids: one of them', { ids: ['b', 'a'] }, true],
    ['ids: none of them', { ids: ['b', 'A'] }, false],
    ['ids: an empty list', { ids: [] }, false],
    ['statuses: one of them', { statuses: ['QUEUED', 'FAILED'] }, true],
    ['statuses: none of them', { statuses: ['QUEUED'] }, false],
    ['statuses: an empty list', { statuses: [] }, false],
    ['models: one of them', { models: ['WAN_2_2_I2V_PLUS_1080P'] }, true],
    ['models: none of them', { models: ['WAN_2_2_I2V_PLUS_480P'] }, false],
    ['models: an empty list', { models: [] }, false],
    ['tags: any one is enough', { tags: ['green', 'blue'] }, true],
    ['tags: none of them', { tags: ['green'] }, false],
    ['tags: a part of one', { tags: ['re'] }, false],
    ['tags: an empty list', { tags: [] }, false],
    ['createdAfter: strictly', { createdAfter: T }, false],
    ['createdAfter: a millisecond earlier', { createdAfter: T - 1 }, true],
    ['createdBefore: strictly', { createdBefore: T }, false],
    ['createdBefore: a millisecond later', { createdBefore: T + 1 }, true],
    ['fields are joined by "and"', { ids: ['a'], statuses: ['QUEUED'] }, false],
    ['all fields at once', { ids: ['a'], statuses: ['FAILED'], tags: ['red'], createdAfter: 0 }, true],
    ['an undefined field is ignored', { ids: undefined, tags: undefined }, true],
  ])('%s', (_, filter, isMatch) => {
    expect(matchesFilter(filter, p)).toBe(isMatch)
  })

  test('by tags does not match a prediction without tags', () => {
    expect(matchesFilter({ tags: ['red'] }, newPrediction())).toBe(false)
  })
})
