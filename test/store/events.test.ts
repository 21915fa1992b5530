import { describe, expect, test } from 'vitest'
import { wholeOf } from '../../src/domain/access-scope.ts'
import type { AppId } from '../../src/domain/prediction.ts'
import {
  add,
  addMany,
  COMPLETED,
  create,
  draft,
  ENGINES,
  fixture,
  HOUR,
  log,
  MINUTE,
  NOBODY,
  newApp,
  SECOND,
  seen,
  sendAll,
  T,
} from '../support/store.ts'

describe.each(ENGINES)('%s', (_, open) => {
  describe('events', () => {
    test('are numbered without gaps in the order of their commits, across apps and whatever failed between', async () => {
      await using f = await fixture(open)
      const other = await newApp(f.store)
      const expected: [AppId, string, string][] = []
      for (let i = 0; i < 5; i++) {
        for (const app of [f.app, other]) {
          const { prediction } = await create(
            f.store,
            draft(app),
            { space: '', key: `${i}`, fingerprint: '' },
            T,
          )
          await create(f.store, draft(app), { space: '', key: `${i}`, fingerprint: '' }, T)
          expected.push([app, prediction.id, 'QUEUED'])
        }
        await add(f.store, NOBODY as AppId).catch(() => {})
        for (const job of await sendAll(f.store, T)) expected.push([job.appId, job.id, 'CREATED'])
        const id = expected.at(-1)![1]
        await f.store.change(id, () => null, T)
        await f.store.change(id, () => ({ status: 'QUEUED' }), T).catch(() => {})
        await f.store.change(id, () => ({ status: 'FAILED' }), T)
        expected.push([other, id, 'FAILED'])
      }
      const told = [...(await log(f.store, f.app)), ...(await log(f.store, other))]
        .toSorted((a, b) => a.seq - b.seq)
        .map(({ seq, prediction: p }) => [seq, p.appId, p.id, p.status])
      expect(told).toEqual(expected.map((event, i) => [i + 1, ...event]))
      expect(await f.store.eventBounds()).toEqual({ head: expected.length, floor: 0 })
    })

    test('each has the prediction as it was right after it', async () => {
      await using f = await fixture(open)
      const states = [await add(f.store, f.app, T, { tags: ['t'], metadata: { m: 1 } })]
      const { id } = states[0]!
      const keep = async () => states.push((await f.store.get(wholeOf(f.app), id))!)
      await sendAll(f.store, T + 1)
      await keep()
      await f.store.change(id, seen({ status: 'processing' }, T + 2, T + 2), T + 2)
      await keep()
      await f.store.change(id, seen(COMPLETED, T + 3, T + 3), T + 3)
      await keep()
      const events = await log(f.store, f.app)
      expect(events.map(event => event.prediction)).toEqual(states)
      expect(events.map(event => event.previousStatus)).toEqual([null, 'QUEUED', 'CREATED', 'PROCESSING'])
      expect(events.map(event => event.occurredAt)).toEqual([T, T + 1, T + 2, T + 3])
      expect(states.map(state => state.status)).toEqual(['QUEUED', 'CREATED', 'PROCESSING', 'COMPLETED'])
      expect(states[3]?.outputs).toHaveLength(1)
    })

    test('the log has those of all apps, in order', async () => {
      await using f = await fixture(open)
      const other = await newApp(f.store)
      for (let i = 0; i < 3; i++) for (const app of [f.app, other]) await add(f.store, app)
      const { events, through, floor } = await f.store.logAfter(1, 3)
      expect(events.map(event => [event.seq, event.prediction.appId])).toEqual([
        [2, other],
        [3, f.app],
        [4, other],
      ])
      expect([through, floor]).toEqual([4, 0])
      expect(await f.store.logAfter(6, 3)).toEqual({ events: [], through: 6, floor: 0 })
    })

    test('after a place come the newer ones, the app’s own, in order; `through` says how far that was', async () => {
      await using f = await fixture(open)
      const other = await newApp(f.store)
      for (let i = 0; i < 5; i++) for (const app of [f.app, other]) await add(f.store, app)
      // The app's own are 1, 3, 5, 7 and 9 of ten.
      const ask = async (after: number, limit: number) => {
        const { events, ...rest } = await f.store.eventsAfter({ scope: wholeOf(f.app), after, limit })
        return { seqs: events.map(event => event.seq), ...rest }
      }
      expect(await ask(0, 100)).toEqual({ seqs: [1, 3, 5, 7, 9], through: 10, floor: 0 })
      expect(await ask(0, 2)).toEqual({ seqs: [1, 3], through: 3, floor: 0 })
      expect(await ask(3, 2)).toEqual({ seqs: [5, 7], through: 7, floor: 0 })
      expect(await ask(4, 2)).toEqual({ seqs: [5, 7], through: 7, floor: 0 })
      expect(await ask(7, 2)).toEqual({ seqs: [9], through: 10, floor: 0 })
      expect(await ask(9, 2)).toEqual({ seqs: [], through: 10, floor: 0 })
      expect(await ask(10, 2)).toEqual({ seqs: [], through: 10, floor: 0 })
    })

    test('an app without events hears of nobody else’s, and still how far the log goes', async () => {
      await using f = await fixture(open)
      await addMany(f.store, f.app, 3)
      const appId = await newApp(f.store)
      expect(await f.store.eventsAfter({ scope: wholeOf(appId), after: 0, limit: 10 })).toEqual({
        events: [],
        through: 3,
        floor: 0,
      })
    })

    test('of one prediction are its own alone, and only for its app', async () => {
      await using f = await fixture(open)
      const [a, b] = await addMany(f.store, f.app, 2)
      await sendAll(f.store, T + SECOND)
      const ask = async (appId: AppId, predictionId: string, after = 0, limit = 10) => {
        const { events, through } = await f.store.eventsAfter({
          scope: wholeOf(appId),
          after,
          limit,
          predictionId,
        })
        return [events.map(event => [event.seq, event.prediction.id]), through]
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
      expect(await ask(f.app, NOBODY)).toEqual([[], 4])
      expect(await ask(await newApp(f.store), a!)).toEqual([[], 4])
    })

    test('a snapshot and what follows its head are the whole story', async () => {
      await using f = await fixture(open)
      const { id } = await add(f.store, f.app)
      await add(f.store, await newApp(f.store))
      const snapshot = await f.store.snapshot(wholeOf(f.app), id)
      expect(snapshot).toEqual({ prediction: await f.store.get(wholeOf(f.app), id), head: 2 })
      await f.store.change(id, () => ({ status: 'CREATED' }), T)
      const { events } = await f.store.eventsAfter({
        scope: wholeOf(f.app),
        after: snapshot!.head,
        limit: 10,
        predictionId: id,
      })
      expect(events.map(event => event.prediction.status)).toEqual(['CREATED'])
    })

    test('there is no snapshot of what is not this app’s', async () => {
      await using f = await fixture(open)
      const { id } = await add(f.store, await newApp(f.store))
      expect(await f.store.snapshot(wholeOf(f.app), id)).toBeNull()
      expect(await f.store.snapshot(wholeOf(f.app), NOBODY)).toBeNull()
    })

    test('an empty log begins and ends at 0', async () => {
      await using f = await fixture(open)
      expect(await f.store.eventBounds()).toEqual({ head: 0, floor: 0 })
      expect(await f.store.eventsAfter({ scope: wholeOf(f.app), after: 0, limit: 1 })).toEqual({
        events: [],
        through: 0,
        floor: 0,
      })
    })
  })

  describe('pruneEvents', () => {
    test('none behind the place that is named is deleted, however old', async () => {
      await using f = await fixture(open)
      await addMany(f.store, f.app, 5)
      expect(await f.store.pruneEvents(T + HOUR, 100, 0)).toBe(0)
      expect(await f.store.pruneEvents(T + HOUR, 100, 2)).toBe(2)
      expect(await f.store.eventBounds()).toEqual({ head: 5, floor: 2 })
      expect(await f.store.pruneEvents(T + HOUR, 100, 2)).toBe(0)
    })

    test('takes the oldest, at most as many as it may, and only those from before', async () => {
      await using f = await fixture(open)
      await addMany(f.store, f.app, 6)
      expect(await f.store.pruneEvents(T, 100)).toBe(0)
      expect(await f.store.eventBounds()).toEqual({ head: 6, floor: 0 })
      expect(await f.store.pruneEvents(T + 4, 3)).toBe(3)
      expect(await f.store.eventBounds()).toEqual({ head: 6, floor: 3 })
      expect(await f.store.pruneEvents(T + 4, 3)).toBe(1)
      expect(await f.store.pruneEvents(T + 4, 3)).toBe(0)
      expect(await f.store.eventsAfter({ scope: wholeOf(f.app), after: 0, limit: 100 })).toMatchObject({
        events: [{ seq: 5 }, { seq: 6 }],
        through: 6,
        floor: 4,
      })
      expect(await f.store.pruneEvents(T + HOUR, 0)).toBe(0)
    })

    test('a newer event that stands before older ones is kept, and so are they', async () => {
      await using f = await fixture(open)
      for (const at of [T, T + HOUR, T + 1, T + 2]) await add(f.store, f.app, at)
      expect(await f.store.pruneEvents(T + MINUTE, 100)).toBe(1)
      expect((await log(f.store, f.app)).map(event => event.seq)).toEqual([2, 3, 4])
    })

    test('after a full prune the numbers go on, and the predictions are still there', async () => {
      await using f = await fixture(open)
      const ids = await addMany(f.store, f.app, 4)
      expect(await f.store.pruneEvents(T + HOUR, 100)).toBe(4)
      expect(await f.store.eventBounds()).toEqual({ head: 4, floor: 4 })
      expect(await f.store.eventsAfter({ scope: wholeOf(f.app), after: 4, limit: 1 })).toEqual({
        events: [],
        through: 4,
        floor: 4,
      })
      expect(await f.store.getMany(wholeOf(f.app), ids)).not.toContain(null)
      await add(f.store, f.app)
      expect((await log(f.store, f.app)).map(event => event.seq)).toEqual([5])
      expect(await f.store.eventBounds()).toEqual({ head: 5, floor: 4 })
    })
  })
})
