import { describe, expect, test, vi } from 'vitest'
import { wholeOf } from '../../src/domain/access-scope.ts'
import type { AppId } from '../../src/domain/prediction.ts'
import { createFeed, type Feed, type Interest } from '../../src/events/event-log.ts'
import { createBell } from '../../src/runtime/wake-signal.ts'
import { add, addMany, ENGINES, HOUR, newApp, T } from '../support/store.ts'
import { until } from '../support/until.ts'

describe.each(ENGINES)('the feed on %s', (_, open) => {
  async function fixture(options: { ringBytes?: number; before?: number } = {}) {
    const bell = createBell()
    const store = await open(bell.ring)
    const app = await newApp(store)
    if (options.before) await addMany(store, app, options.before)
    const log: object[] = []
    const feed = await createFeed({
      store,
      bell,
      log: { error: fields => void log.push(fields) },
      ...(options.ringBytes && { ringBytes: options.ringBytes }),
    })
    return {
      store,
      feed,
      app,
      log,
      async [Symbol.asyncDispose]() {
        feed.close()
        await store.close()
      },
    }
  }

  async function all(feed: Feed, interest: Interest, after = 0): Promise<number[]> {
    const seqs: number[] = []
    for (let place = after; place < feed.head; ) {
      const { events, through } = await feed.read(interest, place)
      seqs.push(...events.map(event => event.seq))
      place = through
    }
    return seqs
  }
  const upTo = (n: number, from = 1) => Array.from({ length: n - from + 1 }, (_, i) => i + from)

  test('has what is in the ring at once, and what fell out of it from the store', async () => {
    await using f = await fixture({ ringBytes: 20_000 })
    await addMany(f.store, f.app, 300)
    await until(() => f.feed.head === 300)
    expect(f.feed.read({ scope: wholeOf(f.app) }, 299)).toMatchObject({
      events: [{ seq: 300 }],
      through: 300,
    })
    expect(f.feed.read({ scope: wholeOf(f.app) }, 0)).toBeInstanceOf(Promise)
    for (const after of [0, 7, 150, 290, 300])
      expect(await all(f.feed, { scope: wholeOf(f.app) }, after)).toEqual(upTo(300, after + 1))
  })

  test('after a start has the newest events in the ring', async () => {
    await using f = await fixture({ before: 350 })
    await until(() => f.feed.head === 350, 3000)
    expect(f.feed.read({ scope: wholeOf(f.app) }, 0)).not.toBeInstanceOf(Promise)
    expect(await all(f.feed, { scope: wholeOf(f.app) })).toEqual(upTo(350))
  })

  test('reads and wakes for an interest alone: its app, its prediction, its filter', async () => {
    await using f = await fixture()
    const other = await newApp(f.store)
    const woken: Record<string, number[]> = { app: [], other: [], one: [], tagged: [] }
    const one = await add(f.store, f.app)
    const interests: Record<string, Interest> = {
      app: { scope: wholeOf(f.app) },
      other: { scope: wholeOf(other) },
      one: { scope: wholeOf(f.app), predictionId: one.id },
      tagged: { scope: wholeOf(f.app), filter: { tags: ['t'] } },
    }
    await until(() => f.feed.head === 1)
    for (const [name, interest] of Object.entries(interests))
      f.feed.listen(interest, seq => woken[name]!.push(seq))
    await add(f.store, other, T, { tags: ['t'] })
    await add(f.store, f.app, T, { tags: ['t'] })
    await f.store.change(one.id, () => ({ status: 'CANCELED' }), T)
    await until(() => f.feed.head === 4)
    expect(woken).toEqual({ app: [3, 4], other: [2], one: [4], tagged: [3] })
    expect(await all(f.feed, interests.app!)).toEqual([1, 3, 4])
    expect(await all(f.feed, interests.other!)).toEqual([2])
    expect(await all(f.feed, interests.one!)).toEqual([1, 4])
    expect(await all(f.feed, interests.tagged!)).toEqual([3])
    expect(await all(f.feed, { scope: wholeOf(other), predictionId: one.id })).toEqual([])
  })

  test('reads for an interest alone what fell out of the ring, too', async () => {
    await using f = await fixture({ ringBytes: 5000 })
    const other = await newApp(f.store)
    const one = await add(f.store, f.app, T, { tags: ['t'] })
    await add(f.store, other, T, { tags: ['t'] })
    await f.store.change(one.id, () => ({ status: 'CANCELED' }), T)
    await addMany(f.store, f.app, 100)
    await until(() => f.feed.head === 103)
    expect(f.feed.read({ scope: wholeOf(f.app) }, 0)).toBeInstanceOf(Promise)
    expect(await all(f.feed, { scope: wholeOf(f.app), filter: { tags: ['t'] } })).toEqual([1, 3])
    expect(
      await all(f.feed, { scope: wholeOf(f.app), filter: { tags: ['t'], statuses: ['QUEUED'] } }),
    ).toEqual([1])
    expect(await all(f.feed, { scope: wholeOf(other) })).toEqual([2])
    expect(await all(f.feed, { scope: wholeOf(f.app), predictionId: one.id })).toEqual([1, 3])
  })

  test('wakes nobody who has stopped listening', async () => {
    await using f = await fixture()
    const woken: number[] = []
    const stop = f.feed.listen({ scope: wholeOf(f.app) }, seq => woken.push(seq))
    await add(f.store, f.app)
    await until(() => woken.length === 1)
    stop()
    await add(f.store, f.app)
    await until(() => f.feed.head === 2)
    expect(woken).toEqual([1])
  })

  test('a log that can’t be read for a while is read again; nothing is missed, and it is logged once', async () => {
    await using f = await fixture()
    const { logAfter } = f.store
    let failures = 0
    f.store.logAfter = async (...args) => {
      if (failures++ < 3) throw new Error('the disk is away')
      return logAfter(...args)
    }
    await addMany(f.store, f.app, 5)
    await until(() => f.feed.head === 5)
    expect(await all(f.feed, { scope: wholeOf(f.app) })).toEqual(upTo(5))
    expect(f.log).toHaveLength(1)
  })

  test('says how far events were pruned before they were read', async () => {
    await using f = await fixture({ ringBytes: 5000 })
    await addMany(f.store, f.app, 300)
    await until(() => f.feed.head === 300)
    await f.store.pruneEvents(T + HOUR, 250)
    expect(await f.feed.read({ scope: wholeOf(f.app) }, 10)).toMatchObject({ prunedTo: 250 })
    expect(await f.feed.read({ scope: wholeOf(f.app) }, 250)).toMatchObject({ prunedTo: null })
  })

  test('skips what was pruned before its tail came by, and wakes everyone to be told', async () => {
    await using f = await fixture()
    const { logAfter } = f.store
    f.store.logAfter = () => Promise.reject(new Error('asleep'))
    const woken: number[] = []
    f.feed.listen({ scope: wholeOf('another app' as AppId) }, seq => woken.push(seq))
    await addMany(f.store, f.app, 10)
    await f.store.pruneEvents(T + HOUR, 8)
    await until(() => f.log.length === 1)
    f.store.logAfter = logAfter
    await until(() => f.feed.head === 10)
    expect(woken).toEqual([1])
    expect(await f.feed.read({ scope: wholeOf(f.app) }, 0)).toMatchObject({ prunedTo: 8 })
    expect(await all(f.feed, { scope: wholeOf(f.app) }, 8)).toEqual([9, 10])
  })

  test('knows the lowest place that is held', async () => {
    await using f = await fixture()
    expect(f.feed.lowestHeld()).toBeNull()
    const [a, b] = [f.feed.hold(5), f.feed.hold(3)]
    expect(f.feed.lowestHeld()).toBe(3)
    b.moveTo(9)
    expect(f.feed.lowestHeld()).toBe(5)
    a.release()
    expect(f.feed.lowestHeld()).toBe(9)
    b.release()
    expect(f.feed.lowestHeld()).toBeNull()
  })

  test('a place that has not moved for an hour is held no longer', async () => {
    await using f = await fixture()
    const hold = f.feed.hold(5)
    const later = (ms: number) => vi.setSystemTime(Date.now() + ms)
    try {
      later(HOUR / 2)
      hold.moveTo(6)
      hold.moveTo(6)
      later(HOUR * 0.6)
      hold.moveTo(6)
      expect(f.feed.lowestHeld()).toBe(6)
      later(HOUR * 0.5)
      expect(f.feed.lowestHeld()).toBeNull()
      hold.moveTo(7)
      expect(f.feed.lowestHeld()).toBe(7)
    } finally {
      vi.useRealTimers()
    }
  })
})
