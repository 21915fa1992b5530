import { describe, expect, test } from 'vitest'
import { fullScope } from '../../src/domain/access-scope.ts'
import type { AppId } from '../../src/domain/prediction.ts'
import { canceled, submitAnswered } from '../../src/domain/transitions.ts'
import type { Claim, Store } from '../../src/store/store.ts'
import { ENGINES } from '../support/engines.ts'
import {
  addPrediction,
  COMPLETED,
  claimReadySubmits,
  createPrediction,
  draft,
  eventsOf,
  fixture,
  HOUR,
  MINUTE,
  pollSucceededAt,
  SECOND,
  submitAll,
  T,
} from '../support/store.ts'

const claim: Claim = { now: T + HOUR, leaseUntil: T + 2 * HOUR, limit: 9 }

const begin = async (store: Store, app: AppId) => {
  await addPrediction(store, app)
  return (await claimReadySubmits(store, T))[0]!.id
}
const send = async (store: Store, app: AppId) => {
  await addPrediction(store, app)
  return (await submitAll(store, T))[0]!.id
}
const lose = async (store: Store, app: AppId) => {
  const id = await begin(store, app)
  await store.change(id, submitAnswered({ kind: 'unknown' }, T, T), T)
  return id
}
const wait = async (store: Store, app: AppId) => (await addPrediction(store, app)).id

describe.each(ENGINES)('%s', (_, { open }) => {
  test.each<
    [
      method: string,
      prepare: (store: Store, app: AppId) => Promise<string>,
      write: (store: Store, id: string) => Promise<unknown>,
    ]
  >([
    ['change', wait, (store, id) => store.change(id, canceled(T), T)],
    ['change of a field that no app sees', wait, (store, id) => store.change(id, () => ({ dueAt: T }), T)],
    ['change of nothing', wait, (store, id) => store.change(id, () => ({}), T)],
    [
      'claimImageChecks',
      wait,
      store => store.claimImageChecks({ ...claim, imageVerifiedAfter: 0, readyTarget: 9 }),
    ],
    ['claimSubmits', wait, store => claimReadySubmits(store, T)],
    ['claimPolls', send, store => store.claimPolls(claim)],
    [
      'reschedule',
      send,
      async (store, id) => {
        const [job] = await store.claimPolls(claim)
        await store.reschedule([{ id, fence: job!.fence, dueAt: T, lastSeenRunningAt: T }])
      },
    ],
    ['claimUnresolvedSubmits', lose, store => store.claimUnresolvedSubmits(claim)],
    ['claimAbandonedSubmits', begin, store => store.claimAbandonedSubmits(claim)],
    ['followProcessClock, of a waiting job', wait, store => store.followProcessClock(SECOND)],
    ['followProcessClock, of a begun job', begin, store => store.followProcessClock(SECOND)],
    ['followProcessClock, of a sent job', send, store => store.followProcessClock(SECOND)],
    ['followProcessClock, of an unresolved job', lose, store => store.followProcessClock(SECOND)],
  ])('%s raises the version', async (_, prepare, write) => {
    await using f = await fixture(open)
    const id = await prepare(f.store, f.app)
    const versionOf = async () => (await f.store.get(fullScope(f.app), id))!.version
    const before = await versionOf()
    await write(f.store, id)
    expect(await versionOf()).toBeGreaterThan(before)
  })

  test('a claimed job has the version that its claim wrote', async () => {
    await using f = await fixture(open)
    const id = await send(f.store, f.app)
    const [job] = await f.store.claimPolls(claim)
    expect(job).toEqual(expect.objectContaining(await f.store.get(fullScope(f.app), id)))
  })

  test('a prediction that gives its idempotency key up gets the next version', async () => {
    await using f = await fixture(open)
    const once = { restrictionKey: '', key: 'k', fingerprint: 'a' }
    const { prediction } = await createPrediction(f.store, draft(f.app), once, T)
    await createPrediction(f.store, draft(f.app), once, T + 24 * HOUR)
    expect(await f.store.get(fullScope(f.app), prediction.id)).toEqual({ ...prediction, version: 2 })
  })

  test('what writes nothing leaves the version as it is', async () => {
    await using f = await fixture(open)
    const id = await send(f.store, f.app)
    const before = await f.store.get(fullScope(f.app), id)
    expect(await f.store.change(id, () => null, T)).toBeNull()
    expect(await f.store.change(id, canceled(T), T, 99)).toBeNull()
    await f.store.reschedule([{ id, fence: 99, dueAt: T, lastSeenRunningAt: T }])
    await expect(f.store.change(id, () => ({ status: 'QUEUED' }), T)).rejects.toThrow('illegal')
    expect(await f.store.get(fullScope(f.app), id)).toEqual(before)
  })

  test('an event has the version right after its change, and versions rise in the order of the events', async () => {
    await using f = await fixture(open)
    const { id } = await addPrediction(f.store, f.app)
    const versions = [1]
    const changeAndNote = async (...args: Parameters<Store['change']>) =>
      versions.push((await f.store.change(...args))!.version)
    const [job] = await claimReadySubmits(f.store, T)
    const accepted = submitAnswered({ kind: 'accepted', upstreamId: 'u' }, T, T)
    await changeAndNote(id, accepted, T, job!.fence)
    await f.store.claimPolls({ ...claim, now: T })
    await changeAndNote(id, pollSucceededAt({ status: 'processing' }, T + MINUTE, T), T + MINUTE)
    await changeAndNote(id, pollSucceededAt(COMPLETED, T + MINUTE, T), T + MINUTE)
    const events = await eventsOf(f.store, f.app)
    expect(events.map(({ prediction }) => prediction.version)).toEqual(versions)
    expect(versions).toEqual(versions.toSorted((a, b) => a - b))
    expect(new Set(versions).size).toBe(4)
    expect(await f.store.get(fullScope(f.app), id)).toEqual(events.at(-1)!.prediction)
  })
})
