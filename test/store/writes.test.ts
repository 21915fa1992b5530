import { describe, expect, test } from 'vitest'
import { fullScope } from '../../src/domain/access-scope.ts'
import { submitAccepted } from '../../src/domain/transitions.ts'
import { ENGINES } from '../support/engines.ts'
import {
  addPrediction,
  addPredictions,
  claimReadySubmits,
  createPrediction,
  draft,
  eventsOf,
  fixture,
  idsOf,
  pageRequest,
  SECOND,
  sharedFixture,
  T,
  times,
} from '../support/store.ts'

describe.each(ENGINES)('writes of one event-loop turn on %s', (_, { open, createDatabase }) => {
  test('resolve after their commit: another store sees each as soon as it is answered', async () => {
    await using f = await sharedFixture(createDatabase)
    const [store, other] = [await f.open(), await f.open()]
    const app = (await store.createApp('app', T))!.id
    const isSeen = await Promise.all(
      times(20, async i => {
        const { id } = await addPrediction(store, app, T + i)
        return (await other.get(fullScope(app), id)) !== null
      }),
    )
    expect(isSeen).toEqual(times(20, () => true))
  })

  test('are numbered in the order of the requests, without gaps, however many they are', async () => {
    await using f = await fixture(open)
    const made = await Promise.all(times(200, i => addPrediction(f.store, f.app, T - i)))
    const events = await eventsOf(f.store, f.app)
    expect(events.map(({ seq }) => seq)).toEqual(times(200, i => i + 1))
    expect(events.map(({ prediction }) => prediction.id)).toEqual(idsOf(made))
  })

  test('send one notification, after the commit: another store can already see the changes', async () => {
    await using f = await sharedFixture(createDatabase)
    const other = await f.open()
    const seen: Promise<{ head: number }>[] = []
    const store = await f.open(() => void seen.push(other.eventRange()))
    const app = (await store.createApp('app', T))!.id
    const [id] = await addPredictions(store, app, 20)
    await store.change(id!, () => ({ status: 'CANCELED' }), T)
    expect((await Promise.all(seen)).map(({ head }) => head)).toEqual([20, 21])
  })

  test('send no notification if nothing was written', async () => {
    await using f = await fixture(open)
    await f.store.setLimits(f.app, { maxQueued: 0 })
    expect(await f.store.create(draft(f.app), null, T)).toMatchObject({ kind: 'refused' })
    expect(f.notifications).toBe(0)
  })

  test('see the writes requested before them: a limit counts earlier submits', async () => {
    await using f = await fixture(open)
    await f.store.setLimits(f.app, { maxQueued: 5 })
    const answers = await Promise.all(times(8, () => f.store.create(draft(f.app), null, T)))
    expect(answers.map(({ kind }) => kind)).toEqual([
      ...times(5, () => 'created'),
      ...times(3, () => 'refused'),
    ])
  })

  test('see the writes requested before them: two changes of one row are made one after the other', async () => {
    await using f = await fixture(open)
    const { id } = await addPrediction(f.store, f.app)
    await Promise.all([
      f.store.change(id, () => ({ status: 'CREATED' }), T),
      f.store.change(id, () => ({ status: 'PROCESSING' }), T),
    ])
    const events = await eventsOf(f.store, f.app)
    expect(events.map(({ previousStatus }) => previousStatus)).toEqual([null, 'QUEUED', 'CREATED'])
  })

  test('with one idempotency key make one prediction; the second is a repetition or a conflict', async () => {
    await using f = await fixture(open)
    const once = { restrictionKey: '', key: 'k', fingerprint: 'f' }
    const other = { ...once, fingerprint: 'g' }
    const [first, second, third] = await Promise.all(
      [once, once, other].map(idempotency => createPrediction(f.store, draft(f.app), idempotency, T)),
    )
    expect([first!.kind, second!.kind, third!.kind]).toEqual(['created', 'repeated', 'conflict'])
    expect([second!.prediction, third!.prediction]).toEqual([first!.prediction, first!.prediction])
    expect((await f.store.list(fullScope(f.app), pageRequest())).predictions).toHaveLength(1)
  })

  test('that throw are rejected alone and change nothing; the 200 others are written', async () => {
    await using f = await fixture(open)
    const ids = await addPredictions(f.store, f.app, 3)
    const [first, second] = await claimReadySubmits(f.store, T + SECOND, { limit: 2 })
    await f.store.change(first!.id, submitAccepted('taken', T), T)
    const eventCount = (await eventsOf(f.store, f.app)).length
    const throwing = [
      () => f.store.change(first!.id, () => ({ status: 'QUEUED' }), T),
      () =>
        f.store.change(
          ids[2]!,
          () => {
            throw new Error('a bug')
          },
          T,
        ),
      // Refused by the database, not by the transition.
      () => f.store.change(second!.id, submitAccepted('taken', T), T),
    ]
    const answers = await Promise.allSettled(
      times(203, i =>
        i % 70 === 50 ? throwing[(i - 50) / 70]!() : addPrediction(f.store, f.app, T, { metadata: i }),
      ),
    )
    expect(answers.flatMap(({ status }, i) => (status === 'rejected' ? [i] : []))).toEqual([50, 120, 190])
    const events = (await eventsOf(f.store, f.app)).slice(eventCount)
    expect(events.map(({ prediction }) => prediction.metadata)).toEqual(
      times(203, i => i).filter(i => i % 70 !== 50),
    )
    expect(events.map(({ seq }) => seq)).toEqual(times(200, i => eventCount + 1 + i))
    expect(await f.store.get(fullScope(f.app), second!.id)).toMatchObject({
      status: 'QUEUED',
      upstreamId: null,
    })
    expect((await f.store.usage(fullScope(f.app), T)).spent).toBe(203 * draft(f.app).cost)
  })

  test('are committed before the store closes; later ones are rejected', async () => {
    await using f = await sharedFixture(createDatabase)
    const [store, other] = [await f.open(), await f.open()]
    const app = (await store.createApp('app', T))!.id
    const made = Promise.all(times(100, () => addPrediction(store, app)))
    await store.close()
    const { predictions } = await other.list(fullScope(app), pageRequest({ limit: 200 }))
    expect(new Set(idsOf(predictions))).toEqual(new Set(idsOf(await made)))
    await expect(addPrediction(store, app)).rejects.toThrow()
  })
})
