import { describe, expect, test } from 'vitest'
import { createBell } from '../src/events/bell.ts'
import { createCursors } from '../src/events/cursor.ts'
import { createFeed, type FeedItem } from '../src/events/feed.ts'
import { observed } from '../src/prediction.ts'
import { add, addMany, COMPLETED, ENGINES, HOUR, newApp, SECOND, sendAll, T } from './support/store.ts'

describe.each(ENGINES)('on %s', (_, open) => {
  async function fixture() {
    const bell = createBell()
    const store = await open(bell.ring)
    const cursors = createCursors(store.cursorKey, store.epoch)
    const feed = createFeed({ store, bell, cursors })
    return {
      store,
      feed,
      cursors,
      app: await newApp(store),
      async [Symbol.asyncDispose]() {
        feed.close()
        await store.close()
      },
    }
  }
  const next = async <Item>(reader: AsyncIterator<Item>): Promise<Item> => (await reader.next()).value
  const seqOf = (item: FeedItem) => (item.kind === 'event' ? item.event.seq : item.kind)

  test('an event that lands while a replay is read is told once, in its place', async () => {
    await using f = await fixture()
    await addMany(f.store, f.app, 250)
    const { eventsAfter } = f.store
    let reads = 0
    f.store.eventsAfter = async request => {
      const answer = await eventsAfter(request)
      // After the read, before its answer is seen: the seam.
      if (reads++ < 5) await add(f.store, f.app, T + HOUR)
      return answer
    }
    const reader = f.feed.follow(f.app, f.cursors.seal(0), {})
    const items: FeedItem[] = []
    while (items.filter(item => item.kind === 'event').length < 255) items.push(await next(reader))
    expect(items.map(seqOf).filter(seq => seq !== 'caught-up')).toEqual(
      Array.from({ length: 255 }, (_, i) => i + 1),
    )
    expect(items.filter(item => item.kind === 'caught-up')).toHaveLength(1)
    await reader.return?.()
  })

  test('a reader that is overtaken by pruning is told so, then everything that is still there', async () => {
    await using f = await fixture()
    await addMany(f.store, f.app, 300)
    const reader = f.feed.follow(f.app, f.cursors.seal(0), {})
    for (let seq = 1; seq <= 100; seq++) expect(seqOf(await next(reader))).toBe(seq)
    await f.store.pruneEvents(T + HOUR, 250)
    expect(await next(reader)).toEqual({ kind: 'gap', reason: 'CURSOR_TOO_OLD', seq: 250 })
    for (let seq = 251; seq <= 300; seq++) expect(seqOf(await next(reader))).toBe(seq)
    expect(await next(reader)).toEqual({ kind: 'caught-up', seq: 300 })
    await reader.return?.()
  })

  test('a watcher whose end was pruned before it looked is told the end all the same', async () => {
    await using f = await fixture()
    const { id } = await add(f.store, f.app)
    const watcher = (await f.feed.watch(f.app, id))!
    expect((await next(watcher)).status).toBe('QUEUED')
    await sendAll(f.store, T + SECOND)
    await f.store.change(id, observed(COMPLETED, T + SECOND, T), T + SECOND)
    await f.store.pruneEvents(T + HOUR, 100)
    expect((await next(watcher)).status).toBe('COMPLETED')
    expect((await watcher.next()).done).toBe(true)
  })

  test('a reader that leaves while it waits is gone at once', async () => {
    await using f = await fixture()
    const reader = f.feed.follow(f.app, null, {})
    expect((await next(reader)).kind).toBe('caught-up')
    const waiting = reader.next()
    await reader.return?.()
    expect((await waiting).done).toBe(true)
  })
})
