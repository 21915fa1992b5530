import { describe, expect, test } from 'vitest'
import { PREDICTION_ERROR_CODES } from '../../src/domain/errors.ts'
import { isFinal, isLegalTransition, STATUSES, type Status } from '../../src/domain/prediction.ts'

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
