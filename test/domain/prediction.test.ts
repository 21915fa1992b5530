import { describe, expect, test } from 'vitest'
import { PREDICTION_ERROR_CODES } from '../../src/domain/errors.ts'
import { isFinal, isLegalTransition, STATUSES, type Status } from '../../src/domain/prediction.ts'
import { type Filter, matchesFilter } from '../../src/domain/prediction-filter.ts'
import { newPrediction, T } from '../support/store.ts'

describe('statuses', () => {
  const FINAL = STATUSES.filter(isFinal)

  test('the final ones are COMPLETED, FAILED and CANCELED', () => {
    expect(FINAL).toEqual(['COMPLETED', 'FAILED', 'CANCELED'])
  })

  test('a transition is legal exactly if it leads further', () => {
    const rank: Record<Status, number> = {
      QUEUED: 0,
      CREATED: 1,
      PROCESSING: 2,
      COMPLETED: 3,
      FAILED: 3,
      CANCELED: 3,
    }
    for (const from of STATUSES)
      for (const to of STATUSES)
        expect(isLegalTransition(from, to), `${from} → ${to}`).toBe(rank[to] > rank[from])
  })

  test('COMPLETED and CANCELED never change, whatever error the row has', () => {
    for (const from of ['COMPLETED', 'CANCELED'] as const)
      for (const to of STATUSES)
        for (const error of [null, ...PREDICTION_ERROR_CODES])
          expect(isLegalTransition(from, to, error)).toBe(false)
  })

  test('FAILED changes only where the error was provisional, and only to a final status', () => {
    const provisional = PREDICTION_ERROR_CODES.filter(error =>
      isLegalTransition('FAILED', 'COMPLETED', error),
    )
    expect(provisional).toEqual(['TIMED_OUT', 'SUBMISSION_UNKNOWN'])
    for (const to of STATUSES)
      for (const error of [null, ...PREDICTION_ERROR_CODES])
        expect(isLegalTransition('FAILED', to, error), `${error} → ${to}`).toBe(
          error !== null && provisional.includes(error) && FINAL.includes(to),
        )
  })
})

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
