import { describe, expect, test } from 'vitest'
import { fullScope } from '../../src/domain/access-scope.ts'
import type { AppId, LogPosition } from '../../src/domain/prediction.ts'
import { ENGINES } from '../support/engines.ts'
import {
  addPrediction,
  addPredictions,
  COMPLETED,
  createPrediction,
  draft,
  eventsOf,
  fixture,
  HOUR,
  MINUTE,
  newApp,
  pollSucceededAt,
  SECOND,
  submitAll,
  T,
  UNKNOWN_ID,
} from '../support/store.ts'

describe.each(ENGINES)('%s', (_, { open }) => {
  describe('events', () => {
    test('are numbered without gaps in commit order, across apps and failed writes', async () => {
      await using f = await fixture(open)
      const other = await newApp(f.store)
      const expected: [AppId, string, string][] = []
      for (let i = 0; i < 5; i++) {
        for (const app of [f.app, other]) {
          const { prediction } = await createPrediction(
            f.store,
            draft(app),
            { restrictionKey: '', key: `${i}`, fingerprint: '' },
            T,
          )
          await createPrediction(f.store, draft(app), { restrictionKey: '', key: `${i}`, fingerprint: '' }, T)
          expected.push([app, prediction.id, 'QUEUED'])
        }
        await addPrediction(f.store, UNKNOWN_ID as AppId).catch(() => {})
        for (const job of await submitAll(f.store, T)) expected.push([job.appId, job.id, 'CREATED'])
        const id = expected.at(-1)![1]
        await f.store.change(id, () => null, T)
        await f.store.change(id, () => ({ status: 'QUEUED' }), T).catch(() => {})
        await f.store.change(id, () => ({ status: 'FAILED' }), T)
        expected.push([other, id, 'FAILED'])
      }
      const allEvents = [...(await eventsOf(f.store, f.app)), ...(await eventsOf(f.store, other))]
        .toSorted((a, b) => a.seq - b.seq)
        .map(({ seq, prediction: p }) => [seq, p.appId, p.id, p.status])
      expect(allEvents).toEqual(expected.map((event, i) => [i + 1, ...event]))
      expect(await f.store.eventRange()).toMatchObject({ head: expected.length, prunedUpTo: 0 })
    })

    test('each has the prediction as it was right after the event', async () => {
      await using f = await fixture(open)
      const states = [await addPrediction(f.store, f.app, T, { tags: ['t'], metadata: { m: 1 } })]
      const { id } = states[0]!
      const keep = async () => states.push((await f.store.get(fullScope(f.app), id))!)
      await submitAll(f.store, T + 1)
      await keep()
      await f.store.change(id, pollSucceededAt({ status: 'processing' }, T + 2, T + 2), T + 2)
      await keep()
      await f.store.change(id, pollSucceededAt(COMPLETED, T + 3, T + 3), T + 3)
      await keep()
      const events = await eventsOf(f.store, f.app)
      expect(events.map(event => event.prediction)).toEqual(states)
      expect(events.map(event => event.previousStatus)).toEqual([null, 'QUEUED', 'CREATED', 'PROCESSING'])
      expect(events.map(event => event.occurredAt)).toEqual([T, T + 1, T + 2, T + 3])
      expect(states.map(state => state.status)).toEqual(['QUEUED', 'CREATED', 'PROCESSING', 'COMPLETED'])
      expect(states[3]?.outputs).toHaveLength(1)
    })

    test('allEventsAfter returns the events of all apps, in order', async () => {
      await using f = await fixture(open)
      const other = await newApp(f.store)
      for (let i = 0; i < 3; i++) for (const app of [f.app, other]) await addPrediction(f.store, app)
      const { events, scannedUpTo, prunedUpTo } = await f.store.allEventsAfter(1, 3)
      expect(events.map(event => [event.seq, event.prediction.appId])).toEqual([
        [2, other],
        [3, f.app],
        [4, other],
      ])
      expect([scannedUpTo, prunedUpTo]).toEqual([4, 0])
      expect(await f.store.allEventsAfter(6, 3)).toEqual({ events: [], scannedUpTo: 6, prunedUpTo: 0 })
    })

    test('eventsAfter returns the app’s newer events in order; `scannedUpTo` says how far it read', async () => {
      await using f = await fixture(open)
      const other = await newApp(f.store)
      for (let i = 0; i < 5; i++) for (const app of [f.app, other]) await addPrediction(f.store, app)
      // Events 1, 3, 5, 7 and 9 of ten are the app's.
      const ask = async (afterSeq: number, limit: number) => {
        const { events, ...rest } = await f.store.eventsAfter({ scope: fullScope(f.app), afterSeq, limit })
        return { seqs: events.map(event => event.seq), ...rest }
      }
      expect(await ask(0, 100)).toEqual({ seqs: [1, 3, 5, 7, 9], scannedUpTo: 10, prunedUpTo: 0 })
      expect(await ask(0, 2)).toEqual({ seqs: [1, 3], scannedUpTo: 3, prunedUpTo: 0 })
      expect(await ask(3, 2)).toEqual({ seqs: [5, 7], scannedUpTo: 7, prunedUpTo: 0 })
      expect(await ask(4, 2)).toEqual({ seqs: [5, 7], scannedUpTo: 7, prunedUpTo: 0 })
      expect(await ask(7, 2)).toEqual({ seqs: [9], scannedUpTo: 10, prunedUpTo: 0 })
      expect(await ask(9, 2)).toEqual({ seqs: [], scannedUpTo: 10, prunedUpTo: 0 })
      expect(await ask(10, 2)).toEqual({ seqs: [], scannedUpTo: 10, prunedUpTo: 0 })
    })

    test('an app without events gets none, and still how far the log goes', async () => {
      await using f = await fixture(open)
      await addPredictions(f.store, f.app, 3)
      const appId = await newApp(f.store)
      expect(await f.store.eventsAfter({ scope: fullScope(appId), afterSeq: 0, limit: 10 })).toEqual({
        events: [],
        scannedUpTo: 3,
        prunedUpTo: 0,
      })
    })

    test('events of one prediction contain only its own, and only for its app', async () => {
      await using f = await fixture(open)
      const [a, b] = await addPredictions(f.store, f.app, 2)
      await submitAll(f.store, T + SECOND)
      const ask = async (appId: AppId, predictionId: string, afterSeq = 0, limit = 10) => {
        const { events, scannedUpTo } = await f.store.eventsAfter({
          scope: fullScope(appId),
          afterSeq,
          limit,
          predictionId,
        })
        return [events.map(event => [event.seq, event.prediction.id]), scannedUpTo]
      }
      expect(await ask(f.app, a!)).toEqual([
        [
          [1, a],
          [3, a],
        ],
        4,
      ])
      expect(await ask(f.app, b!, 2)).toEqual([[[4, b]], 4])
      expect(await ask(f.app, b!, 0, 1)).toEqual([[[2, b]], 2])
      expect(await ask(f.app, UNKNOWN_ID)).toEqual([[], 4])
      expect(await ask(await newApp(f.store), a!)).toEqual([[], 4])
    })

    test('a snapshot and the events after its head give every state', async () => {
      await using f = await fixture(open)
      const { id } = await addPrediction(f.store, f.app)
      await addPrediction(f.store, await newApp(f.store))
      const snapshot = await f.store.snapshot(fullScope(f.app), id)
      expect(snapshot).toEqual({ prediction: await f.store.get(fullScope(f.app), id), head: 2 })
      await f.store.change(id, () => ({ status: 'CREATED' }), T)
      const { events } = await f.store.eventsAfter({
        scope: fullScope(f.app),
        afterSeq: snapshot!.head,
        limit: 10,
        predictionId: id,
      })
      expect(events.map(event => event.prediction.status)).toEqual(['CREATED'])
    })

    test('there is no snapshot of another app’s prediction', async () => {
      await using f = await fixture(open)
      const { id } = await addPrediction(f.store, await newApp(f.store))
      expect(await f.store.snapshot(fullScope(f.app), id)).toBeNull()
      expect(await f.store.snapshot(fullScope(f.app), UNKNOWN_ID)).toBeNull()
    })

    test('an empty log begins and ends at 0', async () => {
      await using f = await fixture(open)
      expect(await f.store.eventRange()).toMatchObject({ head: 0, prunedUpTo: 0 })
      expect(await f.store.eventsAfter({ scope: fullScope(f.app), afterSeq: 0, limit: 1 })).toEqual({
        events: [],
        scannedUpTo: 0,
        prunedUpTo: 0,
      })
    })
  })

  describe('pruneEvents', () => {
    test('no event after the given seq is deleted, however old', async () => {
      await using f = await fixture(open)
      const pruneUpTo = (lowestPinnedSeq: number) =>
        f.store.pruneEvents({ occurredBefore: T + HOUR, limit: 100, thisProcess: { lowestPinnedSeq } })
      await addPredictions(f.store, f.app, 5)
      expect(await pruneUpTo(0)).toBe(0)
      expect(await pruneUpTo(2)).toBe(2)
      expect(await f.store.eventRange()).toMatchObject({ head: 5, prunedUpTo: 2 })
      expect(await pruneUpTo(2)).toBe(0)
    })

    test('deletes the oldest events, at most `limit`, and only those that occurred before the given time', async () => {
      await using f = await fixture(open)
      await addPredictions(f.store, f.app, 6)
      expect(await f.store.pruneEvents({ occurredBefore: T, limit: 100 })).toBe(0)
      expect(await f.store.eventRange()).toMatchObject({ head: 6, prunedUpTo: 0 })
      expect(await f.store.pruneEvents({ occurredBefore: T + 4, limit: 3 })).toBe(3)
      expect(await f.store.eventRange()).toMatchObject({ head: 6, prunedUpTo: 3 })
      expect(await f.store.pruneEvents({ occurredBefore: T + 4, limit: 3 })).toBe(1)
      expect(await f.store.pruneEvents({ occurredBefore: T + 4, limit: 3 })).toBe(0)
      expect(await f.store.eventsAfter({ scope: fullScope(f.app), afterSeq: 0, limit: 100 })).toMatchObject({
        events: [{ seq: 5 }, { seq: 6 }],
        scannedUpTo: 6,
        prunedUpTo: 4,
      })
      expect(await f.store.pruneEvents({ occurredBefore: T + HOUR, limit: 0 })).toBe(0)
    })

    test('every event has a mark, by which another event with its seq is told from it', async () => {
      await using f = await fixture(open)
      await addPredictions(f.store, f.app, 3)
      const marks = (await eventsOf(f.store, f.app)).map(event => event.mark)
      expect(marks.every(mark => mark! > 0 && mark! < 2 ** 32)).toBe(true)
      expect(new Set(marks).size).toBe(3)
      const isSame = async (position: LogPosition) => (await f.store.eventRange(position)).isSameHistory
      const second = await f.store.positionOf(2)
      expect(second).toEqual({ seq: 2, mark: marks[1] })
      expect(await isSame(second)).toBe(true)
      for (const mark of [null, second.mark! ^ 1]) expect(await isSame({ seq: 2, mark })).toBe(false)
      expect((await f.store.eventRange()).headPosition).toEqual({ seq: 3, mark: marks[2] })
      expect(await isSame({ seq: 0, mark: null })).toBe(true)
    })

    test('the last pruned event keeps its mark', async () => {
      await using f = await fixture(open)
      await addPredictions(f.store, f.app, 3)
      const positions = await Promise.all([1, 2, 3].map(f.store.positionOf))
      const isSame = async (position: LogPosition) => (await f.store.eventRange(position)).isSameHistory
      for (const position of positions.slice(1)) {
        await f.store.pruneEvents({ occurredBefore: T + HOUR, limit: position === positions[1] ? 2 : 1 })
        expect(await f.store.positionOf(position.seq)).toEqual(position)
        expect(await isSame(position)).toBe(true)
        expect(await isSame({ ...position, mark: 1 })).toBe(false)
      }
      expect((await f.store.eventRange()).headPosition).toEqual(positions[2])
    })

    test('an event that is too new to delete keeps the older ones after it', async () => {
      await using f = await fixture(open)
      for (const at of [T, T + HOUR, T + 1, T + 2]) await addPrediction(f.store, f.app, at)
      expect(await f.store.pruneEvents({ occurredBefore: T + MINUTE, limit: 100 })).toBe(1)
      expect((await eventsOf(f.store, f.app)).map(event => event.seq)).toEqual([2, 3, 4])
    })

    test('after a full prune the numbers continue, and the predictions are still there', async () => {
      await using f = await fixture(open)
      const ids = await addPredictions(f.store, f.app, 4)
      expect(await f.store.pruneEvents({ occurredBefore: T + HOUR, limit: 100 })).toBe(4)
      expect(await f.store.eventRange()).toMatchObject({ head: 4, prunedUpTo: 4 })
      expect(await f.store.eventsAfter({ scope: fullScope(f.app), afterSeq: 4, limit: 1 })).toEqual({
        events: [],
        scannedUpTo: 4,
        prunedUpTo: 4,
      })
      expect(await f.store.getMany(fullScope(f.app), ids)).not.toContain(null)
      await addPrediction(f.store, f.app)
      expect((await eventsOf(f.store, f.app)).map(event => event.seq)).toEqual([5])
      expect(await f.store.eventRange()).toMatchObject({ head: 5, prunedUpTo: 4 })
    })
  })
})
