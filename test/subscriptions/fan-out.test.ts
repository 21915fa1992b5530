import { performance } from 'node:perf_hooks'
import { parse } from 'graphql'
import { describe, expect, test } from 'vitest'
import { createTokens } from '../../src/auth/access-token.ts'
import { type Access, restrictionOf } from '../../src/domain/access-scope.ts'
import type { AppId } from '../../src/domain/prediction.ts'
import { createCursors } from '../../src/events/cursor.ts'
import { createFeed } from '../../src/events/event-log.ts'
import { createSources } from '../../src/events/subscription-source.ts'
import { createContext } from '../../src/graphql/context.ts'
import { encodeId } from '../../src/graphql/global-id.ts'
import { schema } from '../../src/graphql/schema.ts'
import { createTurns } from '../../src/runtime/fair-scheduler.ts'
import { createBell } from '../../src/runtime/wake-signal.ts'
import { createBroadcast } from '../../src/subscriptions/fan-out.ts'
import type { Payload } from '../../src/subscriptions/shared-operation.ts'
import type { Sink, Subscriber } from '../../src/subscriptions/subscription-group.ts'
import type { LogLine } from '../support/gateway.ts'
import {
  add,
  addMany,
  COMPLETED,
  ENGINES,
  HOUR,
  keyOf,
  newApp,
  SECOND,
  seen,
  sendAll,
  T,
} from '../support/store.ts'
import { until } from '../support/until.ts'

const FEED = `subscription ($after: String, $filter: PredictionFilter) {
  predictionFeed(after: $after, filter: $filter) {
    __typename
    ... on PredictionEvent { cursor prediction { id status tags } }
    ... on FeedCaughtUp { cursor }
    ... on FeedGap { reason cursor }
  }
}`
const STATUS = 'subscription ($id: ID!) { predictionUpdated(id: $id) { id status } }'

interface Watcher {
  /** As they came; the same object where they were shared. */
  payloads: Payload[]
  /** In short: an event's status and number, or the name of what is none. */
  told(): string[]
  full: boolean
  gone: boolean
  drain(): void
  writes: number
  end: Promise<unknown>
  leave(): void
}

let minted = 0
/** What a token gives access to: to all of its app's without tags and ids. */
const tokenOf = (appId: AppId, tags: string[] = [], ids: string[] = []): Access => ({
  scope: { appId, only: tags.length + ids.length > 0 ? restrictionOf(tags, ids) : null },
  grant: { tags: [], token: `t${minted++}`, permissions: ['READ'], maxSubmits: 0 },
  key: 'rsh_12345678',
  expiresAt: T + HOUR,
})

describe.each(ENGINES)('the broadcast on %s', (_, open) => {
  async function fixture(options: { quietMs?: number; ringBytes?: number } = {}) {
    const bell = createBell()
    const store = await open(bell.ring)
    const cursorsOf = createCursors(store.cursorKey, store.epoch)
    const app = await newApp(store)
    const cursors = cursorsOf(app)
    const log: LogLine[] = []
    const error = (fields: object, message: string) =>
      void log.push({ level: 'error', message, fields: { ...fields } })
    const { quietMs, ringBytes } = options
    const feed = await createFeed({ store, bell, log: { error }, ...(ringBytes && { ringBytes }) })
    let listening = 0
    const { listen } = feed
    feed.listen = (...args) => {
      const stop = listen(...args)
      listening++
      return () => {
        listening--
        stop()
      }
    }
    const broadcast = createBroadcast({
      feed,
      turns: createTurns(),
      log: { error },
      ...(quietMs && { quietMs }),
    })
    const services = {
      store,
      sources: createSources(store, cursorsOf),
      cursorsOf,
      tokens: createTokens(store.tokenKey, Date.now),
      now: Date.now,
      notice() {},
      refused() {},
      mostUploadBytes: 0,
      urlOf: (path: string) => path,
      turn: async () => {},
    }

    async function watch(
      who: AppId | Access,
      query = FEED,
      variableValues: Record<string, unknown> = {},
      { onSend = () => {}, operationName = null as string | null } = {},
    ): Promise<Watcher> {
      const woken: (() => void)[] = []
      const watcher: Watcher = {
        payloads: [],
        told: () =>
          watcher.payloads.map(payload => shortly(payload, typeof who === 'string' ? who : who.scope.appId)),
        full: false,
        gone: false,
        drain() {
          watcher.full = false
          for (const wake of woken.splice(0)) wake()
        },
        writes: 0,
        end: Promise.resolve(),
        leave: () => void subscription.return?.(),
      }
      const sink: Sink = {
        isFull: () => watcher.full,
        drained: () =>
          new Promise(resolve => {
            if (watcher.full) woken.push(resolve)
            else resolve()
          }),
        send(payloads) {
          onSend()
          if (watcher.gone) return false
          watcher.writes++
          watcher.payloads.push(...payloads)
          return true
        },
      }
      const subscription = (await broadcast.subscribe({
        schema,
        document: parse(query),
        variableValues,
        operationName,
        contextValue: {
          ...createContext(services, typeof who === 'string' ? keyOf(who) : who),
          params: { query },
          sink,
        },
      })) as Subscriber
      watcher.end = subscription.next()
      watcher.end.catch(() => {})
      return watcher
    }

    const shortly = ({ tail }: Payload, of: AppId): string => {
      const { data, errors } = JSON.parse(String(tail).slice(0, -1))
      if (errors) return errors[0].message
      const item = data.predictionFeed ?? data.predictionUpdated
      if (item.reason) return `gap ${item.reason}`
      if (item.__typename === 'FeedCaughtUp') return 'caught up'
      return item.cursor ? `${item.prediction.status} ${cursorsOf(of).open(item.cursor)}` : item.status
    }

    return {
      store,
      feed,
      cursors,
      cursorsOf,
      log,
      watch,
      listening: () => listening,
      app,
      async [Symbol.asyncDispose]() {
        broadcast.close()
        feed.close()
        await store.close()
      },
    }
  }
  const queued = (from: number, to: number) =>
    Array.from({ length: to - from + 1 }, (_, i) => `QUEUED ${from + i}`)

  test('tells all who asked the same the very same bytes', async () => {
    await using f = await fixture()
    const same = [await f.watch(f.app), await f.watch(f.app), await f.watch(f.app, FEED, { after: null })]
    const narrower = await f.watch(f.app, FEED, { filter: { statuses: ['QUEUED'] } })
    const otherwise = await f.watch(f.app, FEED.replace('tags', ''))
    await add(f.store, f.app)
    const everyone = [...same, narrower, otherwise]
    await until(() => everyone.every(watcher => watcher.payloads.length === 2))
    const bytes = everyone.map(watcher => watcher.payloads[1]!.tail)
    expect(bytes.map(each => each === bytes[0])).toEqual([true, true, true, false, false])
    for (const watcher of everyone) expect(watcher.told()).toEqual(['caught up', 'QUEUED 1'])
  })

  test('parts those who ask for another operation of one document, not those who order variables otherwise', async () => {
    await using f = await fixture()
    const field = (selection: string) => `predictionFeed { ... on PredictionEvent { ${selection} } }`
    const two = `subscription A { ${field('type')} } subscription B { ${field('cursor')} }`
    const filters = [
      { filter: { tags: ['t'], statuses: ['QUEUED'] }, after: null },
      { after: null, filter: { statuses: ['QUEUED'], tags: ['t'] } },
    ]
    const watchers = [
      await f.watch(f.app, two, {}, { operationName: 'A' }),
      await f.watch(f.app, two, {}, { operationName: 'B' }),
      await f.watch(f.app, FEED, filters[0]),
      await f.watch(f.app, FEED, filters[1]),
    ]
    await add(f.store, f.app, T, { tags: ['t'] })
    await until(() => watchers.every(watcher => watcher.payloads.length === 2))
    const [a, b, c, d] = watchers.map(watcher => watcher.payloads[1]!.tail)
    expect(String(a)).toContain('QUEUED')
    expect(String(b)).not.toContain('QUEUED')
    expect(c === d).toBe(true)
  })

  test('never tells one app what is another’s, with equal documents, variables and ids', async () => {
    await using f = await fixture()
    const other = await newApp(f.store)
    const mine = await add(f.store, f.app)
    const filter = { ids: [encodeId('Prediction', mine.id)] }
    const watchers = {
      mine: await f.watch(f.app),
      theirs: await f.watch(other),
      mineFiltered: await f.watch(f.app, FEED, { filter }),
      theirsFiltered: await f.watch(other, FEED, { filter }),
      mineReplayed: await f.watch(f.app, FEED, { after: f.cursors.seal(0) }),
      theirsReplayed: await f.watch(other, FEED, { after: f.cursorsOf(other).seal(0) }),
    }
    await until(() => Object.values(watchers).every(watcher => watcher.told().includes('caught up')))
    await add(f.store, other)
    await f.store.change(mine.id, () => ({ status: 'CANCELED' }), T)
    await until(() => watchers.mine.payloads.length === 2 && watchers.theirs.payloads.length === 2)
    await add(f.store, other)
    await until(() => watchers.theirsReplayed.payloads.length === 3)
    const told = Object.fromEntries(Object.entries(watchers).map(([name, watcher]) => [name, watcher.told()]))
    expect(told).toEqual({
      mine: ['caught up', 'CANCELED 3'],
      theirs: ['caught up', 'QUEUED 2', 'QUEUED 4'],
      mineFiltered: ['caught up', 'CANCELED 3'],
      theirsFiltered: ['caught up'],
      mineReplayed: ['QUEUED 1', 'caught up', 'CANCELED 3'],
      theirsReplayed: ['caught up', 'QUEUED 2', 'QUEUED 4'],
    })
  })

  test('tells those of one restriction the very same bytes, and nobody else', async () => {
    await using f = await fixture()
    const watchers = {
      key: await f.watch(f.app),
      all: await f.watch(tokenOf(f.app)),
      a: await f.watch(tokenOf(f.app, ['a'])),
      again: await f.watch(tokenOf(f.app, ['a', 'a'])),
      ab: await f.watch(tokenOf(f.app, ['a', 'b'])),
      ba: await f.watch(tokenOf(f.app, ['b', 'a'])),
      b: await f.watch(tokenOf(f.app, ['b'])),
      byId: await f.watch(tokenOf(f.app, [], ['a'])),
    }
    await until(() => Object.values(watchers).every(({ payloads }) => payloads.length === 1))
    await add(f.store, f.app, T, { tags: ['b', 'a'] })
    const { byId, ...told } = watchers
    await until(() => Object.values(told).every(({ payloads }) => payloads.length === 2))
    const { key, all, a, again, ab, ba, b } = Object.fromEntries(
      Object.entries(told).map(([name, { payloads }]) => [name, payloads[1]!.tail]),
    )
    expect([key === all, a === again, ab === ba]).toEqual([true, true, true])
    expect(new Set([key, a, ab, b]).size).toBe(4)
    // Equal they are: each sees it.
    for (const tail of [a, ab, b]) expect(tail).toEqual(key)
    expect(byId.told()).toEqual(['caught up'])
  })

  test('executes nothing twice for a hundred tokens of one restriction', async () => {
    await using f = await fixture()
    const watchers: Watcher[] = []
    for (let i = 0; i < 100; i++) watchers.push(await f.watch(tokenOf(f.app, ['a'])))
    await until(() => watchers.every(({ payloads }) => payloads.length === 1))
    await add(f.store, f.app, T, { tags: ['a'] })
    await until(() => watchers.every(({ payloads }) => payloads.length === 2))
    expect(new Set(watchers.map(({ payloads }) => payloads[1]!.tail)).size).toBe(1)
    expect(f.listening()).toBe(1)
  })

  test.each([
    ['live', {}, false],
    ['from the ring', {}, true],
    ['from the store', { ringBytes: 1 }, true],
  ])(
    'tells each token its own part of what happens %s, read at once or late',
    async (_, options, replays) => {
      await using f = await fixture(options)
      const after = replays ? f.cursors.seal(0) : null
      const whose: [tags: string[], sees: (tags: string[]) => boolean][] = [
        [['a'], tags => tags.includes('a')],
        [['b'], tags => tags.includes('b')],
        [['a', 'b'], tags => tags.includes('a') || tags.includes('b')],
        [['nobody has it'], () => false],
        [[], () => true],
      ]
      const rows: string[][] = []
      const make = async (count: number) => {
        for (let i = 0; i < count; i++) {
          const tags = [[], ['a'], ['b'], ['b', 'a'], ['c']][rows.length % 5]!
          rows.push(tags)
          await add(f.store, f.app, T, { tags })
        }
      }
      if (replays) await make(60)
      await until(() => f.feed.head === rows.length)
      const watchers: { watcher: Watcher; sees: (tags: string[]) => boolean; isLate: boolean }[] = []
      for (const isLate of [false, true])
        for (const [tags, sees] of whose)
          watchers.push({ watcher: await f.watch(tokenOf(f.app, tags), FEED, { after }), sees, isLate })
      await until(() => watchers.every(({ watcher }) => watcher.told().includes('caught up')))
      const begun = rows.length
      for (const { watcher, isLate } of watchers) watcher.full = isLate
      await make(60)
      const expected = (sees: (tags: string[]) => boolean) => {
        const all = rows.flatMap((tags, i) => (sees(tags) ? [i + 1] : []))
        const told = (seqs: number[]) => seqs.map(seq => `QUEUED ${seq}`)
        return [
          ...told(all.filter(seq => seq <= begun)),
          'caught up',
          ...told(all.filter(seq => seq > begun)),
        ]
      }
      const isTold = ({ watcher, sees }: (typeof watchers)[number]) =>
        watcher.payloads.length >= expected(sees).length
      await until(() => watchers.filter(({ isLate }) => !isLate).every(isTold))
      for (const { watcher, isLate } of watchers) if (isLate) watcher.drain()
      await until(() => watchers.every(isTold))
      for (const { watcher, sees } of watchers) expect(watcher.told()).toEqual(expected(sees))
      const texts = watchers[0]!.watcher.payloads.map(({ tail }) => String(tail))
      expect(texts.filter(text => text.includes('"tags":["b"]'))).toEqual([])
    },
  )

  test('tells one prediction to whoever sees it, and shares it among those who see the same', async () => {
    await using f = await fixture()
    const { id } = await add(f.store, f.app, T, { tags: ['a', 'b'] })
    const variables = { id: encodeId('Prediction', id) }
    const watchers: Watcher[] = []
    for (const tags of [['a'], ['a'], ['b'], []])
      watchers.push(await f.watch(tokenOf(f.app, tags), STATUS, variables))
    await until(() => watchers.every(({ payloads }) => payloads.length === 1))
    await f.store.change(id, () => ({ status: 'CANCELED' }), T)
    await until(() => watchers.every(({ payloads }) => payloads.length === 2))
    const [a, again, b, all] = watchers.map(({ payloads }) => payloads[1]!.tail)
    expect([a === again, a === b, a === all, b === all]).toEqual([true, false, false, false])
    for (const no of [tokenOf(f.app, ['c']), tokenOf(await newApp(f.store), ['a'])])
      await expect(f.watch(no, STATUS, variables)).rejects.toThrow()
  })

  test.each([
    ['by another name', '$place: String', 'predictionFeed(after: $place)', 'place', true],
    ['in another place too', '$a: String', 'predictionFeed(after: $a, filter: { tags: [$a] })', 'a', false],
  ])('`after` %s parts nobody but where it decides more', async (_, variable, field, name, shared) => {
    await using f = await fixture()
    const query = `subscription (${variable}) { ${field} { ... on PredictionEvent { cursor prediction { status } } } }`
    await addMany(f.store, f.app, 2)
    const watchers: Watcher[] = []
    for (const seq of [0, 1]) {
      const after = f.cursors.seal(seq)
      await add(f.store, f.app, T, { tags: [after] })
      watchers.push(await f.watch(f.app, query, { [name]: after }))
    }
    const tags = [0, 1].map(seq => f.cursors.seal(seq))
    await until(() => watchers.every(watcher => watcher.payloads.length > 1))
    await add(f.store, f.app, T, { tags })
    const lasts = () => watchers.map(watcher => watcher.payloads.at(-1)!)
    await until(() => lasts().every(payload => String(payload.tail).includes(f.cursors.seal(5))))
    const [a, b] = lasts()
    expect(a!.tail === b!.tail).toBe(shared)
  })

  test('executes what is the asker’s own for each who asks', async () => {
    await using f = await fixture()
    const query = FEED.replace('tags', 'queuePosition')
    const watchers = [await f.watch(f.app, query), await f.watch(f.app, query)]
    await add(f.store, f.app)
    await until(() => watchers.every(watcher => watcher.payloads.length === 2))
    const [a, b] = watchers.map(watcher => watcher.payloads[1]!.tail)
    expect(String(a)).toContain('"queuePosition":1')
    expect(a).toEqual(b)
    expect(a === b).toBe(false)
  })

  test('reads other rows anew for each event', async () => {
    await using f = await fixture()
    const first = await add(f.store, f.app)
    const { id } = await add(f.store, f.app, T, { retryOf: first.id })
    await until(() => f.feed.head === 2)
    const query =
      'subscription { predictionFeed { ... on PredictionEvent { prediction { retryOf { status } } } } }'
    const watcher = await f.watch(f.app, query)
    const seen = () => watcher.payloads.map(({ tail }) => /"status":"(\w+)"/.exec(String(tail))?.[1])
    await until(() => watcher.payloads.length === 1)
    await f.store.change(id, () => ({ status: 'CREATED', submission: 'accepted' }), T)
    await until(() => watcher.payloads.length === 2)
    await f.store.change(first.id, () => ({ status: 'CANCELED' }), T)
    await f.store.change(id, () => ({ status: 'PROCESSING' }), T)
    await until(() => watcher.payloads.length === 4)
    expect([seen()[1], seen()[3]]).toEqual(['QUEUED', 'CANCELED'])
  })

  test('does not tell what happened before a subscription that has no cursor, though its own tail is late', async () => {
    await using f = await fixture()
    const { logAfter } = f.store
    const early = await f.watch(f.app)
    await until(() => early.payloads.length === 1)
    let open = () => {}
    const gate = new Promise<void>(resolve => {
      open = resolve
    })
    f.store.logAfter = async (...args) => {
      await gate
      return logAfter(...args)
    }
    await add(f.store, f.app)
    const late = await f.watch(f.app)
    await until(() => late.payloads.length === 1)
    open()
    await until(() => early.payloads.length === 2)
    await add(f.store, f.app)
    await until(() => late.told().includes('QUEUED 2'))
    expect(late.told()).toEqual(['caught up', 'QUEUED 2'])
    expect(early.told()).toEqual(['caught up', 'QUEUED 1', 'QUEUED 2'])
  })

  test('makes one payload for those who replay the same at the same time', async () => {
    await using f = await fixture()
    await addMany(f.store, f.app, 50)
    const watchers: Watcher[] = []
    for (let i = 0; i < 3; i++) watchers.push(await f.watch(f.app, FEED, { after: f.cursors.seal(i) }))
    await until(() => watchers.every(watcher => watcher.told().includes('caught up')))
    const ofEvent = (watcher: Watcher) => watcher.payloads.find(({ cursor }) => cursor === f.cursors.seal(40))
    expect(new Set(watchers.map(watcher => ofEvent(watcher)!.tail)).size).toBe(1)
  })

  test('tells an event that lands while a replay is read once, in its place', async () => {
    await using f = await fixture({ ringBytes: 20_000 })
    await addMany(f.store, f.app, 250)
    await until(() => f.feed.head === 250)
    const { eventsAfter } = f.store
    let reads = 0
    f.store.eventsAfter = async request => {
      const answer = await eventsAfter(request)
      // After the read, before its answer is seen: the seam.
      if (reads++ < 3) await add(f.store, f.app, T + HOUR)
      return answer
    }
    const watcher = await f.watch(f.app, FEED, { after: f.cursors.seal(0) })
    await until(() => watcher.payloads.length >= 254)
    await add(f.store, f.app, T + HOUR)
    await until(() => watcher.told().at(-1) === 'QUEUED 254')
    expect(reads).toBeGreaterThanOrEqual(3)
    expect(watcher.told().filter(item => item !== 'caught up')).toEqual(queued(1, 254))
    expect(watcher.told().filter(item => item === 'caught up')).toHaveLength(1)
  })

  test('tells one that comes into a line everything, where the line has read the store ahead of the tail', async () => {
    // Nothing stays in the ring.
    await using f = await fixture({ ringBytes: 1 })
    const first = await f.watch(f.app)
    await until(() => first.payloads.length === 1)
    const { logAfter } = f.store
    let open = () => {}
    const gate = new Promise<void>(resolve => {
      open = resolve
    })
    let reads = 0
    f.store.logAfter = async (...args) => {
      if (reads++ > 0) await gate
      return logAfter(...args)
    }
    await add(f.store, f.app)
    // The tail has 1, and the line waits for its turn.
    while (f.feed.head < 1) await Promise.resolve()
    await addMany(f.store, f.app, 2)
    await until(() => first.payloads.length >= 2)
    const second = await f.watch(f.app, FEED, { after: f.cursors.seal(1) })
    await until(() => second.told().includes('caught up'))
    open()
    await until(() => first.payloads.length === 4)
    await add(f.store, f.app)
    for (const watcher of [first, second]) await until(() => watcher.told().includes('QUEUED 4'))
    expect(first.told()).toEqual(['caught up', ...queued(1, 4)])
    expect(second.told()).toEqual(['caught up', ...queued(2, 4)])
  })

  test('whoever joins at any moment of a storm is told everything from there on, once, in order', async () => {
    await using f = await fixture({ ringBytes: 20_000 })
    const watchers: [number, Watcher][] = []
    for (let i = 0; i < 60; i++) {
      const from = f.feed.head
      watchers.push([from, await f.watch(f.app, FEED, { after: f.cursors.seal(from) })])
      await addMany(f.store, f.app, 5)
      if (i % 7 === 0) await new Promise(setImmediate)
    }
    await until(() => watchers.every(([, watcher]) => watcher.told().includes('QUEUED 300')))
    for (const [from, watcher] of watchers)
      expect(watcher.told().filter(item => item !== 'caught up')).toEqual(queued(from + 1, 300))
  })

  test('leaves whoever is full alone until there is room, then goes on where it was; the others notice nothing', async () => {
    await using f = await fixture({ ringBytes: 20_000 })
    const [stalled, live] = [await f.watch(f.app), await f.watch(f.app)]
    await addMany(f.store, f.app, 3)
    await until(() => [stalled, live].every(watcher => watcher.payloads.length === 4))
    stalled.full = true
    await addMany(f.store, f.app, 300)
    await until(() => live.payloads.length === 304)
    expect(stalled.payloads).toHaveLength(4)
    stalled.drain()
    await until(() => stalled.payloads.length === 304)
    await add(f.store, f.app)
    await until(() => [stalled, live].every(watcher => watcher.payloads.length === 305))
    expect(stalled.told()).toEqual(live.told())
    expect(live.told()).toEqual(['caught up', ...queued(1, 304)])
  })

  test('lets those who read replay beside those who don’t', async () => {
    await using f = await fixture({ ringBytes: 1 })
    await addMany(f.store, f.app, 200)
    await until(() => f.feed.head === 200)
    const ask = () => f.watch(f.app, FEED, { after: f.cursors.seal(0) })
    const stalled = [await ask(), await ask()]
    for (const watcher of stalled) watcher.full = true
    const others = [await ask(), await ask()]
    for (const watcher of others) await until(() => watcher.told().includes('caught up'))
    for (const watcher of stalled) {
      expect(watcher.told()).not.toContain('caught up')
      watcher.drain()
      await until(() => watcher.told().includes('caught up'))
    }
    for (const watcher of [...stalled, ...others])
      expect(watcher.told()).toEqual([...queued(1, 200), 'caught up'])
  })

  test('keeps the log from being pruned behind a replay that waits for its peer', async () => {
    await using f = await fixture({ ringBytes: 20_000 })
    await addMany(f.store, f.app, 300)
    const watcher = await f.watch(f.app, FEED, { after: f.cursors.seal(0) })
    await until(() => watcher.payloads.length > 0)
    watcher.full = true
    await until(() => f.feed.lowestHeld() !== null)
    const told = watcher.payloads.length
    await f.store.pruneEvents(T + HOUR, 500, f.feed.lowestHeld()!)
    watcher.drain()
    await until(() => watcher.told().includes('caught up'))
    expect(watcher.told()).toEqual([...queued(1, 300), 'caught up'])
    expect(told).toBeLessThan(300)
    expect((await f.store.eventBounds()).floor).toBeGreaterThan(0)
    expect(f.feed.lowestHeld()).toBeNull()
  })

  test('knows a gap from a silence: what was pruned and not for it costs a quiet watcher nothing', async () => {
    await using f = await fixture({ ringBytes: 20_000 })
    const filter = { tags: ['t'] }
    const [quiet, stalled, live] = [
      await f.watch(f.app, FEED, { filter }),
      await f.watch(f.app, FEED, { filter }),
      await f.watch(f.app),
    ]
    await until(() => stalled.payloads.length === 1)
    stalled.full = true
    await addMany(f.store, f.app, 300)
    await until(() => live.payloads.length === 301)
    await f.store.pruneEvents(T + HOUR, 280)
    await add(f.store, f.app, T, { tags: ['t'] })
    await until(() => quiet.payloads.length === 2)
    stalled.drain()
    await until(() => stalled.payloads.length === 2)
    for (const watcher of [quiet, stalled]) expect(watcher.told()).toEqual(['caught up', 'QUEUED 301'])
  })

  test('says FeedGap to one that was left behind and overtaken, and to nobody else', async () => {
    await using f = await fixture({ ringBytes: 20_000 })
    const [stalled, live] = [await f.watch(f.app), await f.watch(f.app)]
    await until(() => stalled.payloads.length === 1)
    stalled.full = true
    for (let i = 0; i < 30; i++) {
      await addMany(f.store, f.app, 10)
      await until(() => live.payloads.length === 10 * i + 11)
    }
    await f.store.pruneEvents(T + HOUR, 250)
    stalled.drain()
    await until(() => stalled.told().at(-1) === 'QUEUED 300')
    expect(stalled.told()).toEqual(['caught up', 'gap CURSOR_TOO_OLD', ...queued(251, 300)])
    expect(live.told()).toEqual(['caught up', ...queued(1, 300)])
  })

  test('holds the log from the cursor it is asked for, before it has looked at it', async () => {
    await using f = await fixture()
    await addMany(f.store, f.app, 3)
    const { eventBounds } = f.store
    let held: number | null = null
    f.store.eventBounds = async () => {
      held = f.feed.lowestHeld()
      return eventBounds()
    }
    const watcher = await f.watch(f.app, FEED, { after: f.cursors.seal(1) })
    await until(() => watcher.told().includes('caught up'))
    expect(held).toBe(1)
  })

  test('ends those in line with an error where the log can’t be read, and serves whoever comes back', async () => {
    await using f = await fixture()
    const watchers = [await f.watch(f.app), await f.watch(f.app)]
    await until(() => watchers.every(watcher => watcher.payloads.length === 1))
    const { read } = f.feed
    f.feed.read = () => {
      throw new Error('the secret cause')
    }
    await add(f.store, f.app)
    for (const { end } of watchers) await expect(end).rejects.toThrow('Unexpected error.')
    expect(f.log).toHaveLength(1)
    f.feed.read = read
    const again = await f.watch(f.app, FEED, { after: f.cursors.seal(0) })
    await until(() => again.told().includes('caught up'))
    await add(f.store, f.app)
    await until(() => again.told().includes('QUEUED 2'))
    expect(again.told().filter(item => item !== 'caught up')).toEqual(queued(1, 2))
  })

  test('says FeedGap to those in line too, where even the tail was overtaken, then everything that is still there', async () => {
    await using f = await fixture({ ringBytes: 20_000 })
    const watcher = await f.watch(f.app)
    await until(() => watcher.payloads.length === 1)
    const { logAfter } = f.store
    f.store.logAfter = () => Promise.reject(new Error('asleep'))
    await addMany(f.store, f.app, 300)
    await f.store.pruneEvents(T + HOUR, 250)
    await until(() => f.log.length === 1)
    f.store.logAfter = logAfter
    await until(() => watcher.told().at(-1) === 'QUEUED 300')
    expect(watcher.told()).toEqual(['caught up', 'gap CURSOR_TOO_OLD', ...queued(251, 300)])
  })

  test('tells a watched prediction’s end even where its event was pruned', async () => {
    await using f = await fixture({ ringBytes: 600 })
    const { id } = await add(f.store, f.app)
    const variables = { id: encodeId('Prediction', id) }
    const [watcher, live] = [await f.watch(f.app, STATUS, variables), await f.watch(f.app, STATUS, variables)]
    await until(() => watcher.payloads.length === 1 && live.payloads.length === 1)
    watcher.full = true
    await sendAll(f.store, T + SECOND)
    await f.store.change(id, seen(COMPLETED, T + SECOND, T), T + SECOND)
    await addMany(f.store, f.app, 3)
    await live.end
    await until(() => f.feed.head === 6)
    await f.store.pruneEvents(T + HOUR, 4)
    watcher.drain()
    await watcher.end
    expect(watcher.told()).toEqual(['QUEUED', 'COMPLETED'])
  })

  test('ends everyone who watched a prediction after its final state, after they were told', async () => {
    await using f = await fixture()
    const { id } = await add(f.store, f.app)
    const watchers: Watcher[] = []
    for (let i = 0; i < 3; i++)
      watchers.push(await f.watch(f.app, STATUS, { id: encodeId('Prediction', id) }))
    await until(() => watchers.every(watcher => watcher.payloads.length === 1))
    await f.store.change(id, () => ({ status: 'CANCELED' }), T)
    await Promise.all(watchers.map(watcher => watcher.end))
    for (const watcher of watchers) expect(watcher.told()).toEqual(['QUEUED', 'CANCELED'])
    const late = await f.watch(f.app, STATUS, { id: encodeId('Prediction', id) })
    await late.end
    expect(late.told()).toEqual(['CANCELED'])
  })

  test('gives what happens in one turn of the loop in one write', async () => {
    await using f = await fixture()
    const watcher = await f.watch(f.app)
    await until(() => watcher.payloads.length === 1)
    await addMany(f.store, f.app, 10)
    await until(() => watcher.payloads.length === 11)
    expect(watcher.writes).toBeLessThan(6)
  })

  test('gives a replay and a storm in writes of some 32 KiB, not in one', async () => {
    await using f = await fixture()
    const live = await f.watch(f.app)
    await until(() => live.payloads.length === 1)
    await addMany(f.store, f.app, 500)
    const replayed = await f.watch(f.app, FEED, { after: f.cursors.seal(0) })
    for (const watcher of [live, replayed]) {
      await until(() => watcher.payloads.length === 501)
      const bytes = watcher.payloads.reduce((sum, { tail }) => sum + tail.length, 0)
      expect(watcher.writes).toBeGreaterThan(bytes / 64 / 1024)
      expect(watcher.writes).toBeLessThan(30)
    }
  })

  test('an event for thousands leaves the loop room for others', async () => {
    await using f = await fixture()
    let told = 0
    const write = () => {
      told++
      const end = performance.now() + 0.02
      while (performance.now() < end);
    }
    for (let i = 0; i < 3000; i++) await f.watch(f.app, FEED, {}, { onSend: write })
    await until(() => told === 3000)
    let [passes, longest, last] = [0, 0, 0]
    const others = () => {
      const now = performance.now()
      longest = Math.max(longest, now - last)
      last = now
      passes++
      if (told < 6000) setImmediate(others)
    }
    await add(f.store, f.app)
    await until(() => told > 3000)
    last = performance.now()
    others()
    await until(() => told === 6000)
    // 60 ms of writes, in slices of 5 ms.
    expect(passes).toBeGreaterThanOrEqual(8)
  })

  test('masks a field that fails, and logs it once for all who are told', async () => {
    await using f = await fixture()
    const watchers: Watcher[] = []
    for (let i = 0; i < 5; i++) watchers.push(await f.watch(f.app))
    await add(f.store, f.app, T, { tags: [null] as unknown as string[] })
    await until(() => watchers.every(watcher => watcher.payloads.length === 2))
    for (const watcher of watchers) expect(watcher.told()[1]).toBe('Unexpected error.')
    expect(f.log).toHaveLength(1)
    await add(f.store, f.app)
    await until(() => watchers.every(watcher => watcher.told().at(-1) === 'QUEUED 2'))
  })

  test('keeps the cursor of a quiet watcher young, and tells nobody else', async () => {
    await using f = await fixture({ quietMs: 100 })
    const filter = { tags: ['nobody has it'] }
    const [quiet, again] = [
      await f.watch(f.app, FEED, { filter }),
      await f.watch(f.app, FEED, { filter: { tags: ['t'] } }),
    ]
    await addMany(f.store, f.app, 3)
    await until(() => quiet.payloads.length >= 4)
    expect(new Set(quiet.told())).toEqual(new Set(['caught up']))
    expect(f.cursors.open(quiet.payloads.at(-1)!.cursor!)).toBe(3)
    const cursors = quiet.payloads.map(payload => payload.cursor)
    expect(new Set(cursors).size).toBe(cursors.length)
    await add(f.store, f.app, T, { tags: ['t'] })
    await until(() => again.told().includes('QUEUED 4'))
  })

  test('ends whoever is gone without a word at the next thing there is to tell', async () => {
    await using f = await fixture()
    const watchers = [await f.watch(f.app), await f.watch(f.app)]
    await until(() => watchers.every(watcher => watcher.payloads.length === 1))
    for (const watcher of watchers) watcher.gone = true
    await add(f.store, f.app)
    await Promise.all(watchers.map(watcher => watcher.end))
    expect(f.listening()).toBe(0)
  })

  test('forgets whoever leaves, at any moment', async () => {
    await using f = await fixture()
    const [gone, stays] = [await f.watch(f.app), await f.watch(f.app)]
    gone.leave()
    await gone.end
    await add(f.store, f.app)
    await until(() => stays.told().includes('QUEUED 1'))
    expect(gone.payloads.length).toBeLessThanOrEqual(1)
    expect(f.listening()).toBe(1)
    stays.leave()
    await stays.end
    await until(() => f.feed.lowestHeld() === null)
    expect(f.listening()).toBe(0)
  })
})

test('every field of a prediction that is not marked as the asker’s own is told without the store', async () => {
  const silent = new Proxy({} as never, {
    get(_, name) {
      throw new Error(`the store was asked: ${String(name)}`)
    },
  })
  const { OWN } = await import('../../src/graphql/builder.ts')
  const type = schema.getType('Prediction') as import('graphql').GraphQLObjectType
  const event = schema.getType('PredictionEvent') as import('graphql').GraphQLObjectType
  const fields = [...Object.values(type.getFields()), ...Object.values(event.getFields())]
  const open = fields.filter(field => !field.extensions[OWN])
  expect(fields.filter(field => field.extensions[OWN]).map(field => field.name)).toEqual([
    'history',
    'queuePosition',
    'retryOf',
  ])
  const prediction = { retryOf: 'x', status: 'QUEUED', createdAt: T, id: 'x' }
  const context = { store: silent, loaders: silent, sources: silent, cursorsOf: () => ({ seal: () => '' }) }
  for (const field of open)
    expect(() =>
      field.resolve?.({ ...prediction, prediction, seq: 1 }, {}, context, {
        fieldName: field.name,
        parentType: type,
      } as never),
    ).not.toThrow()
})
