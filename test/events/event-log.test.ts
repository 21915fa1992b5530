import { describe, expect, test, vi } from 'vitest'
import { fullScope } from '../../src/domain/access-scope.ts'
import type { AppId } from '../../src/domain/prediction.ts'
import { createEventLog, type EventLog, type EventSelector } from '../../src/events/event-log.ts'
import { createWakeSignal } from '../../src/runtime/wake-signal.ts'
import { ENGINES } from '../support/engines.ts'
import { addPrediction, addPredictions, HOUR, newApp, T } from '../support/store.ts'
import { until } from '../support/until.ts'

describe.each(ENGINES)('the event log on %s', (_, { open }) => {
  async function fixture(options: { maxBufferBytes?: number; before?: number } = {}) {
    const wakeSignal = createWakeSignal()
    const store = await open(wakeSignal.notify)
    const app = await newApp(store)
    if (options.before) await addPredictions(store, app, options.before)
    const log: object[] = []
    const eventLog = await createEventLog({
      store,
      wakeSignal,
      log: { error: fields => void log.push(fields) },
      ...(options.maxBufferBytes && { maxBufferBytes: options.maxBufferBytes }),
    })
    return {
      store,
      eventLog,
      app,
      log,
      async [Symbol.asyncDispose]() {
        eventLog.close()
        await store.close()
      },
    }
  }

  async function readAll(eventLog: EventLog, selector: EventSelector, after = 0): Promise<number[]> {
    const readSeqs: number[] = []
    for (let seq = after; seq < eventLog.head; ) {
      const { events, scannedUpTo } = await eventLog.read(selector, seq)
      readSeqs.push(...events.map(event => event.seq))
      seq = scannedUpTo
    }
    return readSeqs
  }
  const seqRange = (n: number, from = 1) => Array.from({ length: n - from + 1 }, (_, i) => i + from)

  test('reads buffered events synchronously and older ones from the store', async () => {
    await using f = await fixture({ maxBufferBytes: 20_000 })
    await addPredictions(f.store, f.app, 300)
    await until(() => f.eventLog.head === 300)
    expect(f.eventLog.read({ scope: fullScope(f.app) }, 299)).toMatchObject({
      events: [{ seq: 300 }],
      scannedUpTo: 300,
    })
    expect(f.eventLog.read({ scope: fullScope(f.app) }, 0)).toBeInstanceOf(Promise)
    for (const after of [0, 7, 150, 290, 300])
      expect(await readAll(f.eventLog, { scope: fullScope(f.app) }, after)).toEqual(seqRange(300, after + 1))
  })

  test('the newest events are buffered after a start', async () => {
    await using f = await fixture({ before: 350 })
    await until(() => f.eventLog.head === 350, 3000)
    expect(f.eventLog.read({ scope: fullScope(f.app) }, 0)).not.toBeInstanceOf(Promise)
    expect(await readAll(f.eventLog, { scope: fullScope(f.app) })).toEqual(seqRange(350))
  })

  test('reads and wakes by selector only: app, prediction, filter', async () => {
    await using f = await fixture()
    const other = await newApp(f.store)
    const woken: Record<string, number[]> = { app: [], other: [], one: [], tagged: [] }
    const one = await addPrediction(f.store, f.app)
    const selectors: Record<string, EventSelector> = {
      app: { scope: fullScope(f.app) },
      other: { scope: fullScope(other) },
      one: { scope: fullScope(f.app), predictionId: one.id },
      tagged: { scope: fullScope(f.app), filter: { tags: ['t'] } },
    }
    await until(() => f.eventLog.head === 1)
    for (const [name, selector] of Object.entries(selectors))
      f.eventLog.listen(selector, seq => woken[name]!.push(seq))
    await addPrediction(f.store, other, T, { tags: ['t'] })
    await addPrediction(f.store, f.app, T, { tags: ['t'] })
    await f.store.change(one.id, () => ({ status: 'CANCELED' }), T)
    await until(() => f.eventLog.head === 4)
    expect(woken).toEqual({ app: [3, 4], other: [2], one: [4], tagged: [3] })
    expect(await readAll(f.eventLog, selectors.app!)).toEqual([1, 3, 4])
    expect(await readAll(f.eventLog, selectors.other!)).toEqual([2])
    expect(await readAll(f.eventLog, selectors.one!)).toEqual([1, 4])
    expect(await readAll(f.eventLog, selectors.tagged!)).toEqual([3])
    expect(await readAll(f.eventLog, { scope: fullScope(other), predictionId: one.id })).toEqual([])
  })

  test('the selector applies to events that are read from the store, too', async () => {
    await using f = await fixture({ maxBufferBytes: 5000 })
    const other = await newApp(f.store)
    const one = await addPrediction(f.store, f.app, T, { tags: ['t'] })
    await addPrediction(f.store, other, T, { tags: ['t'] })
    await f.store.change(one.id, () => ({ status: 'CANCELED' }), T)
    await addPredictions(f.store, f.app, 100)
    await until(() => f.eventLog.head === 103)
    expect(f.eventLog.read({ scope: fullScope(f.app) }, 0)).toBeInstanceOf(Promise)
    expect(await readAll(f.eventLog, { scope: fullScope(f.app), filter: { tags: ['t'] } })).toEqual([1, 3])
    expect(
      await readAll(f.eventLog, { scope: fullScope(f.app), filter: { tags: ['t'], statuses: ['QUEUED'] } }),
    ).toEqual([1])
    expect(await readAll(f.eventLog, { scope: fullScope(other) })).toEqual([2])
    expect(await readAll(f.eventLog, { scope: fullScope(f.app), predictionId: one.id })).toEqual([1, 3])
  })

  test('a listener that has stopped is not woken', async () => {
    await using f = await fixture()
    const woken: number[] = []
    const stop = f.eventLog.listen({ scope: fullScope(f.app) }, seq => woken.push(seq))
    await addPrediction(f.store, f.app)
    await until(() => woken.length === 1)
    stop()
    await addPrediction(f.store, f.app)
    await until(() => f.eventLog.head === 2)
    expect(woken).toEqual([1])
  })

  test('when the log cannot be read for a while it is read again: no event is missed, the failure is logged once', async () => {
    await using f = await fixture()
    const { allEventsAfter } = f.store
    let failures = 0
    f.store.allEventsAfter = async (...args) => {
      if (failures++ < 3) throw new Error('the disk is away')
      return allEventsAfter(...args)
    }
    await addPredictions(f.store, f.app, 5)
    await until(() => f.eventLog.head === 5)
    expect(await readAll(f.eventLog, { scope: fullScope(f.app) })).toEqual(seqRange(5))
    expect(f.log).toHaveLength(1)
  })

  test('reports how far events were pruned before they were read', async () => {
    await using f = await fixture({ maxBufferBytes: 5000 })
    await addPredictions(f.store, f.app, 300)
    await until(() => f.eventLog.head === 300)
    await f.store.pruneEvents({ occurredBefore: T + HOUR, limit: 250 })
    expect(await f.eventLog.read({ scope: fullScope(f.app) }, 10)).toMatchObject({ missedUpTo: 250 })
    expect(await f.eventLog.read({ scope: fullScope(f.app) }, 250)).toMatchObject({ missedUpTo: null })
  })

  test('skips events that were pruned before the tail read them, and wakes every listener', async () => {
    await using f = await fixture()
    const { allEventsAfter } = f.store
    f.store.allEventsAfter = () => Promise.reject(new Error('asleep'))
    const woken: number[] = []
    f.eventLog.listen({ scope: fullScope('another app' as AppId) }, seq => woken.push(seq))
    await addPredictions(f.store, f.app, 10)
    await f.store.pruneEvents({ occurredBefore: T + HOUR, limit: 8 })
    await until(() => f.log.length === 1)
    f.store.allEventsAfter = allEventsAfter
    await until(() => f.eventLog.head === 10)
    expect(woken).toEqual([1])
    expect(await f.eventLog.read({ scope: fullScope(f.app) }, 0)).toMatchObject({ missedUpTo: 8 })
    expect(await readAll(f.eventLog, { scope: fullScope(f.app) }, 8)).toEqual([9, 10])
  })

  test('lowestPinnedSeq is the lowest pinned seq', async () => {
    await using f = await fixture()
    expect(f.eventLog.lowestPinnedSeq()).toBeNull()
    const [a, b] = [f.eventLog.pin(5), f.eventLog.pin(3)]
    expect(f.eventLog.lowestPinnedSeq()).toBe(3)
    b.moveTo(9)
    expect(f.eventLog.lowestPinnedSeq()).toBe(5)
    a.release()
    expect(f.eventLog.lowestPinnedSeq()).toBe(9)
    b.release()
    expect(f.eventLog.lowestPinnedSeq()).toBeNull()
  })

  test('a pin that has not moved for an hour no longer counts', async () => {
    await using f = await fixture()
    const pin = f.eventLog.pin(5)
    const advanceClock = (ms: number) => vi.setSystemTime(Date.now() + ms)
    try {
      advanceClock(HOUR / 2)
      pin.moveTo(6)
      pin.moveTo(6)
      advanceClock(HOUR * 0.6)
      pin.moveTo(6)
      expect(f.eventLog.lowestPinnedSeq()).toBe(6)
      advanceClock(HOUR * 0.5)
      expect(f.eventLog.lowestPinnedSeq()).toBeNull()
      pin.moveTo(7)
      expect(f.eventLog.lowestPinnedSeq()).toBe(7)
    } finally {
      vi.useRealTimers()
    }
  })
})
