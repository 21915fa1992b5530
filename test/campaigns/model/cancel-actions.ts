/**
 * The app's cancel, through the GraphQL schema.
 * Invariant: the answer is true. It says whether the canceled job may still be charged, and a job that has ended does
 * not change.
 */
import { execute, parse, validate } from 'graphql'
import { expect } from 'vitest'
import { type AppId, isFinal } from '../../../src/domain/prediction.ts'
import { createContext, type Services } from '../../../src/graphql/context.ts'
import { encodeId } from '../../../src/graphql/global-id.ts'
import { schema } from '../../../src/graphql/schema.ts'
import type { Store } from '../../../src/store/store.ts'
import { fullAccess, jobOf as rowOf } from '../../support/store.ts'
import type { ModelRow } from './model.ts'
import type { ModelState } from './model-state.ts'

/** Parsed once, since it is executed thousands of times. */
const CANCEL = parse(`mutation ($id: ID!) {
  cancelPrediction(input: { id: $id }) {
    ... on CancelPredictionPayload { mayStillBeCharged prediction { status } }
    ... on AlreadyFinishedError { code prediction { status } }
    ... on NotFoundError { code }
  }
}`)
expect(validate(schema, CANCEL)).toEqual([])

/** Executes the mutation with the access of the app's own key. Returns the payload. */
export async function requestCancel(store: Store, app: AppId, id: string, now: number): Promise<unknown> {
  const contextValue = createContext(
    { store, now: () => now, countRejection: () => {} } as unknown as Services,
    fullAccess(app),
  )
  const variableValues = { id: encodeId('Prediction', id) }
  const { data, errors } = await execute({ schema, document: CANCEL, contextValue, variableValues })
  expect(errors).toBeUndefined()
  return data?.cancelPrediction
}

export async function cancel({ store, app, now, jobOf }: ModelState, row: ModelRow): Promise<void> {
  row.cancels++
  const before = await jobOf(row)
  const { head } = await store.eventRange()
  const answer = await requestCancel(store, app, row.id, now)
  const eventCount = (await store.eventRange()).head - head
  if (isFinal(before.status)) {
    const prediction = { status: before.status }
    expect(answer).toEqual({ code: 'ALREADY_FINISHED', prediction })
    expect(await rowOf(store, row.id)).toEqual(before)
    expect(eventCount).toBe(0)
    return
  }
  // A worker that claimed the job for a POST may have sent it, unless a refusal is recorded.
  const mayStillBeCharged = row.claims > row.refusals
  row.canceled = mayStillBeCharged ? 'may still be charged' : 'free'
  expect(answer).toEqual({ mayStillBeCharged, prediction: { status: 'CANCELED' } })
  expect(eventCount).toBe(1)
}
