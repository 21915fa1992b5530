import { performance } from 'node:perf_hooks'
import { parse } from 'graphql'
import { describe, expect, test } from 'vitest'
import { createTokens } from '../../src/auth/access-token.ts'
import { type Access, createRestriction, createScope } from '../../src/domain/access-scope.ts'
import type { AppId } from '../../src/domain/prediction.ts'
import { createCursors } from '../../src/events/cursor.ts'
import { createEventLog } from '../../src/events/event-log.ts'
import { createSubscriptionSources } from '../../src/events/subscription-source.ts'
import { AnswerBudget } from '../../src/graphql/answer-budget.ts'
import { createContext } from '../../src/graphql/context.ts'
import { encodeId } from '../../src/graphql/global-id.ts'
import { schema } from '../../src/graphql/schema.ts'
import { createFairScheduler } from '../../src/runtime/fair-scheduler.ts'
import { createWakeSignal } from '../../src/runtime/wake-signal.ts'
import { createFanOut } from '../../src/subscriptions/fan-out.ts'
import type { Payload } from '../../src/subscriptions/shared-operation.ts'
import type { OperationSink } from '../../src/subscriptions/subscription-group.ts'
import { ENGINES } from '../support/engines.ts'
import type { LogLine } from '../support/gateway.ts'
import {
  addPrediction,
  addPredictions,
  COMPLETED,
  fullAccess,
  HOUR,
  newApp,
  pollSucceededAt,
  SECOND,
  submitAll,
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

interface TestSubscriber {
  /** The delivered payloads. Subscribers that share one have the same object. */
  payloads: Payload[]
  /** A line for each payload: an event's status and seq, or the name of another feed item. */
  summary(): string[]
  isFull: boolean
  isGone: boolean
  drain(): void
  writes: number
  finished: Promise<unknown>
  unsubscribe(): void
}

let tokenCount = 0
/** The access of a token. Without tags and ids it sees all of its app. */
const tokenAccess = (appId: AppId, tags: string[] = [], ids: string[] = []): Access => ({
  scope: createScope(appId, tags.length + ids.length > 0 ? createRestriction(tags, ids) : null),
  permissions: ['READ'],
  grant: { tags: [], tokenId: `t${tokenCount++}`, maxSubmits: 0 },
  keyPrefix: 'rsh_12345678',
  expiresAt: T + HOUR,
})

describe.each(ENGINES)('fan-out on %s', (_, { open }) => {
  async function fixture(options: { cursorRefreshMs?: number; maxBufferBytes?: number } = {}) {
    const wakeSignal = createWakeSignal()
    const store = await open(wakeSignal.notify)
    const cursorsOf = createCursors(store.cursorKey, store.epoch)
    const app = await newApp(store)
    const cursors = cursorsOf(app)
    const log: LogLine[] = []
    const error = (fields: object, message: string) =>
      void log.push({ level: 'error', message, fields: { ...fields } })
    const { cursorRefreshMs, maxBufferBytes } = options
    const eventLog = await createEventLog({
      store,
      wakeSignal,
      log: { error },
      ...(maxBufferBytes && { maxBufferBytes }),
    })
    const rejections: string[] = []
    let listenerCount = 0
    const { listen } = eventLog
    eventLog.listen = (...args) => {
      const stop = listen(...args)
      listenerCount++
      return () => {
        listenerCount--
        stop()
      }
    }
    const scheduler = createFairScheduler()
    let sliceCount = 0
    const fanOut = createFanOut({
      eventLog,
      scheduler: { nextSlice: owner => scheduler.nextSlice(owner).then(() => void sliceCount++) },
      log: { error },
      limits: { maxConnectionsPerApp: 1, maxConnections: 1 },
      ...(cursorRefreshMs && { cursorRefreshMs }),
    })
    const services = {
      store,
      sources: createSubscriptionSources(store, cursorsOf),
      cursorsOf,
      tokens: createTokens(store.tokenKey, Date.now),
      now: Date.now,
      logNotice() {},
      countRejection: (_app: AppId, code: string) => void rejections.push(code),
      maxUploadBytesPerApp: 0,
      toPublicUrl: (path: string) => path,
      nextSlice: async () => {},
    }

    async function subscribe(
      caller: AppId | Access,
      query = FEED,
      variableValues: Record<string, unknown> = {},
      { onSend = () => {}, operationName = null as string | null, heldBytes = 0 } = {},
    ): Promise<TestSubscriber> {
      const drainWaiters: (() => void)[] = []
      const subscriber: TestSubscriber = {
        payloads: [],
        summary: () =>
          subscriber.payloads.map(payload =>
            summarize(payload, typeof caller === 'string' ? caller : caller.scope.appId),
          ),
        isFull: false,
        isGone: false,
        drain() {
          subscriber.isFull = false
          for (const wake of drainWaiters.splice(0)) wake()
        },
        writes: 0,
        finished: Promise.resolve(),
        unsubscribe: () => void subscription.return(),
      }
      const sink: OperationSink = {
        writer: {
          isFull: () => subscriber.isFull,
          whenDrained: () =>
            new Promise(resolve => {
              if (subscriber.isFull) drainWaiters.push(resolve)
              else resolve()
            }),
        },
        heldBytes,
        send(payloads) {
          onSend()
          if (subscriber.isGone) return false
          subscriber.writes++
          subscriber.payloads.push(...payloads)
          return true
        },
      }
      const args = {
        schema,
        document: parse(query),
        variableValues,
        operationName,
        contextValue: createContext(services, typeof caller === 'string' ? fullAccess(caller) : caller),
      }
      const result = await fanOut.subscribe(args, { openSink: () => sink })
      if (!('next' in result)) throw result.errors![0]
      const subscription = result
      subscriber.finished = subscription.next()
      subscriber.finished.catch(() => {})
      return subscriber
    }

    const summarize = ({ json }: Payload, of: AppId): string => {
      const { data, errors } = JSON.parse(String(json).slice(0, -1))
      if (errors) return errors[0].message
      const item = data.predictionFeed ?? data.predictionUpdated
      if (item.reason) return `gap ${item.reason}`
      if (item.__typename === 'FeedCaughtUp') return 'caught up'
      return item.cursor ? `${item.prediction.status} ${cursorsOf(of).decode(item.cursor)?.seq}` : item.status
    }

    return {
      cursorAt: async (seq: number, of = app) => cursorsOf(of).encode(await store.positionOf(seq)),
      store,
      eventLog,
      cursors,
      cursorsOf,
      log,
      subscribe,
      listenerCount: () => listenerCount,
      rejections: () => rejections,
      scheduler,
      sliceCount: () => sliceCount,
      app,
      async [Symbol.asyncDispose]() {
        fanOut.close()
        eventLog.close()
        await store.close()
      },
    }
  }
  const queued = (from: number, to: number) =>
    Array.from({ length: to - from + 1 }, (_, i) => `QUEUED ${from + i}`)

  test('sends the same bytes to every subscriber with the same operation', async () => {
    await using f = await fixture()
    const same = [
      await f.subscribe(f.app),
      await f.subscribe(f.app),
      await f.subscribe(f.app, FEED, { after: null }),
    ]
    const narrower = await f.subscribe(f.app, FEED, { filter: { statuses: ['QUEUED'] } })
    const otherwise = await f.subscribe(f.app, FEED.replace('tags', ''))
    await addPrediction(f.store, f.app)
    const everyone = [...same, narrower, otherwise]
    await until(() => everyone.every(watcher => watcher.payloads.length === 2))
    const bytes = everyone.map(watcher => watcher.payloads[1]!.json)
    expect(bytes.map(each => each === bytes[0])).toEqual([true, true, true, false, false])
    for (const watcher of everyone) expect(watcher.summary()).toEqual(['caught up', 'QUEUED 1'])
  })

  test('keeps the declared variables only: others, and the cursor, separate nobody', async () => {
    await using f = await fixture()
    const query = FEED.replace('String', 'String!')
    const watchers = [
      await f.subscribe(f.app, query, { after: f.cursors.encode({ seq: 0, mark: null }) }),
      await f.subscribe(f.app, query, { after: 'unknown', other: Array(1000).fill({}) }),
    ]
    await until(() => watchers.every(watcher => watcher.payloads.length === 1))
    await addPrediction(f.store, f.app)
    await until(() => watchers.every(watcher => watcher.payloads.length === 2))
    expect(watchers[0]!.summary()).toEqual(['caught up', 'QUEUED 1'])
    expect(watchers[1]!.payloads[1]).toBe(watchers[0]!.payloads[1])
  })

  test('parses a document again that has left the cache, and delivers its events', async () => {
    await using f = await fixture()
    const watchers = [await f.subscribe(f.app)]
    // Each takes half a megabyte, and the cache has eight.
    const names = 'id '.repeat(1000)
    for (let i = 0; i < 20; i++)
      watchers.push(await f.subscribe(f.app, `${FEED.replace('id status', `id status ${names}`)} # ${i}`))
    await addPrediction(f.store, f.app)
    await until(() => watchers.every(watcher => watcher.payloads.length === 2))
    for (const watcher of watchers) expect(watcher.summary()).toEqual(['caught up', 'QUEUED 1'])
  })

  test('rejects a subscription above the bytes of its token or its app, until another one ends', async () => {
    await using f = await fixture()
    const token = tokenAccess(f.app)
    const MB = 1024 * 1024
    const large = await f.subscribe(token, FEED, {}, { heldBytes: 3.9 * MB })
    const rejected = {
      message: expect.stringContaining('this token'),
      extensions: { code: 'TOO_MANY_SUBSCRIPTIONS' },
    }
    await expect(f.subscribe(token, FEED, {}, { heldBytes: MB })).rejects.toMatchObject(rejected)
    await f.subscribe(tokenAccess(f.app), FEED, {}, { heldBytes: MB })
    await expect(f.subscribe(f.app, FEED, {}, { heldBytes: 28 * MB })).rejects.toThrow('this app')
    large.unsubscribe()
    await f.subscribe(token, FEED, {}, { heldBytes: MB })
    expect(f.rejections()).toEqual(['TOO_MANY_SUBSCRIPTIONS', 'TOO_MANY_SUBSCRIPTIONS'])
  })

  test('separates operations of one document, not the order of variables', async () => {
    await using f = await fixture()
    const field = (selection: string) => `predictionFeed { ... on PredictionEvent { ${selection} } }`
    const two = `subscription A { ${field('type')} } subscription B { ${field('cursor')} }`
    const filters = [
      { filter: { tags: ['t'], statuses: ['QUEUED'] }, after: null },
      { after: null, filter: { statuses: ['QUEUED'], tags: ['t'] } },
    ]
    const watchers = [
      await f.subscribe(f.app, two, {}, { operationName: 'A' }),
      await f.subscribe(f.app, two, {}, { operationName: 'B' }),
      await f.subscribe(f.app, FEED, filters[0]),
      await f.subscribe(f.app, FEED, filters[1]),
    ]
    await addPrediction(f.store, f.app, T, { tags: ['t'] })
    await until(() => watchers.every(watcher => watcher.payloads.length === 2))
    const [a, b, c, d] = watchers.map(watcher => watcher.payloads[1]!.json)
    expect(String(a)).toContain('QUEUED')
    expect(String(b)).not.toContain('QUEUED')
    expect(c === d).toBe(true)
  })

  test('never delivers one app’s events to another, with equal documents, variables and ids', async () => {
    await using f = await fixture()
    const other = await newApp(f.store)
    const mine = await addPrediction(f.store, f.app)
    const filter = { ids: [encodeId('Prediction', mine.id)] }
    const watchers = {
      mine: await f.subscribe(f.app),
      theirs: await f.subscribe(other),
      mineFiltered: await f.subscribe(f.app, FEED, { filter }),
      theirsFiltered: await f.subscribe(other, FEED, { filter }),
      mineReplayed: await f.subscribe(f.app, FEED, { after: await f.cursorAt(0) }),
      theirsReplayed: await f.subscribe(other, FEED, { after: await f.cursorAt(0, other) }),
    }
    await until(() => Object.values(watchers).every(watcher => watcher.summary().includes('caught up')))
    await addPrediction(f.store, other)
    await f.store.change(mine.id, () => ({ status: 'CANCELED' }), T)
    await until(() => watchers.mine.payloads.length === 2 && watchers.theirs.payloads.length === 2)
    await addPrediction(f.store, other)
    await until(() => watchers.theirsReplayed.payloads.length === 3)
    const summaries = Object.fromEntries(
      Object.entries(watchers).map(([name, watcher]) => [name, watcher.summary()]),
    )
    expect(summaries).toEqual({
      mine: ['caught up', 'CANCELED 3'],
      theirs: ['caught up', 'QUEUED 2', 'QUEUED 4'],
      mineFiltered: ['caught up', 'CANCELED 3'],
      theirsFiltered: ['caught up'],
      mineReplayed: ['QUEUED 1', 'caught up', 'CANCELED 3'],
      theirsReplayed: ['caught up', 'QUEUED 2', 'QUEUED 4'],
    })
  })

  test('sends the same bytes to all tokens with one restriction, and to no others', async () => {
    await using f = await fixture()
    const watchers = {
      key: await f.subscribe(f.app),
      all: await f.subscribe(tokenAccess(f.app)),
      a: await f.subscribe(tokenAccess(f.app, ['a'])),
      again: await f.subscribe(tokenAccess(f.app, ['a', 'a'])),
      ab: await f.subscribe(tokenAccess(f.app, ['a', 'b'])),
      ba: await f.subscribe(tokenAccess(f.app, ['b', 'a'])),
      b: await f.subscribe(tokenAccess(f.app, ['b'])),
      byId: await f.subscribe(tokenAccess(f.app, [], ['a'])),
    }
    await until(() => Object.values(watchers).every(({ payloads }) => payloads.length === 1))
    await addPrediction(f.store, f.app, T, { tags: ['b', 'a'] })
    const { byId, ...matching } = watchers
    await until(() => Object.values(matching).every(({ payloads }) => payloads.length === 2))
    const { key, all, a, again, ab, ba, b } = Object.fromEntries(
      Object.entries(matching).map(([name, { payloads }]) => [name, payloads[1]!.json]),
    )
    expect([key === all, a === again, ab === ba]).toEqual([true, true, true])
    expect(new Set([key, a, ab, b]).size).toBe(4)
    // The payloads are equal, because each token sees the event.
    for (const tail of [a, ab, b]) expect(tail).toEqual(key)
    expect(byId.summary()).toEqual(['caught up'])
  })

  test('a request of an app does not wait for the subscribers of that app', async () => {
    await using f = await fixture()
    const events = 20
    for (let i = 0; i < events; i++) await addPrediction(f.store, f.app)
    await until(() => f.eventLog.head === events)
    const after = await f.cursorAt(0)
    const subscribers = await Promise.all(
      Array.from({ length: 200 }, () => f.subscribe(f.app, FEED, { after })),
    )
    await until(() => f.sliceCount() > 0)
    // Each of them waits for a slice, and will for most of the 20 events.
    const before = f.sliceCount()
    await f.scheduler.nextSlice(f.app)
    expect(f.sliceCount() - before).toBeLessThan(5)
    expect(subscribers.some(({ payloads }) => payloads.length <= events)).toBe(true)
    await until(() => subscribers.every(({ payloads }) => payloads.length === events + 1))
  })

  test('executes an event once for a hundred tokens with one restriction', async () => {
    await using f = await fixture()
    const watchers: TestSubscriber[] = []
    for (let i = 0; i < 100; i++) watchers.push(await f.subscribe(tokenAccess(f.app, ['a'])))
    await until(() => watchers.every(({ payloads }) => payloads.length === 1))
    await addPrediction(f.store, f.app, T, { tags: ['a'] })
    await until(() => watchers.every(({ payloads }) => payloads.length === 2))
    expect(new Set(watchers.map(({ payloads }) => payloads[1]!.json)).size).toBe(1)
    expect(f.listenerCount()).toBe(1)
  })

  test.each([
    ['live', {}, false],
    ['from the buffer', {}, true],
    ['from the store', { maxBufferBytes: 1 }, true],
  ])(
    'delivers to each token the events it may see %s, to fast and slow readers',
    async (_, options, isReplayed) => {
      await using f = await fixture(options)
      const after = isReplayed ? await f.cursorAt(0) : null
      const restrictions: [tags: string[], sees: (tags: string[]) => boolean][] = [
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
          await addPrediction(f.store, f.app, T, { tags })
        }
      }
      if (isReplayed) await make(60)
      await until(() => f.eventLog.head === rows.length)
      const watchers: { watcher: TestSubscriber; sees: (tags: string[]) => boolean; isLate: boolean }[] = []
      for (const isLate of [false, true])
        for (const [tags, sees] of restrictions)
          watchers.push({
            watcher: await f.subscribe(tokenAccess(f.app, tags), FEED, { after }),
            sees,
            isLate,
          })
      await until(() => watchers.every(({ watcher }) => watcher.summary().includes('caught up')))
      const createdBefore = rows.length
      for (const { watcher, isLate } of watchers) watcher.isFull = isLate
      await make(60)
      const expected = (sees: (tags: string[]) => boolean) => {
        const all = rows.flatMap((tags, i) => (sees(tags) ? [i + 1] : []))
        const summaries = (seqs: number[]) => seqs.map(seq => `QUEUED ${seq}`)
        return [
          ...summaries(all.filter(seq => seq <= createdBefore)),
          'caught up',
          ...summaries(all.filter(seq => seq > createdBefore)),
        ]
      }
      const hasReceivedAll = ({ watcher, sees }: (typeof watchers)[number]) =>
        watcher.payloads.length >= expected(sees).length
      await until(() => watchers.filter(({ isLate }) => !isLate).every(hasReceivedAll))
      for (const { watcher, isLate } of watchers) if (isLate) watcher.drain()
      await until(() => watchers.every(hasReceivedAll))
      for (const { watcher, sees } of watchers) expect(watcher.summary()).toEqual(expected(sees))
      const texts = watchers[0]!.watcher.payloads.map(({ json }) => String(json))
      expect(texts.filter(text => text.includes('"tags":["b"]'))).toEqual([])
    },
  )

  test('delivers one prediction to each token that can see it, and shares it among equal restrictions', async () => {
    await using f = await fixture()
    const { id } = await addPrediction(f.store, f.app, T, { tags: ['a', 'b'] })
    const variables = { id: encodeId('Prediction', id) }
    const watchers: TestSubscriber[] = []
    for (const tags of [['a'], ['a'], ['b'], []])
      watchers.push(await f.subscribe(tokenAccess(f.app, tags), STATUS, variables))
    await until(() => watchers.every(({ payloads }) => payloads.length === 1))
    await f.store.change(id, () => ({ status: 'CANCELED' }), T)
    await until(() => watchers.every(({ payloads }) => payloads.length === 2))
    const [a, again, b, all] = watchers.map(({ payloads }) => payloads[1]!.json)
    expect([a === again, a === b, a === all, b === all]).toEqual([true, false, false, false])
    for (const otherAccess of [tokenAccess(f.app, ['c']), tokenAccess(await newApp(f.store), ['a'])])
      await expect(f.subscribe(otherAccess, STATUS, variables)).rejects.toThrow()
  })

  test.each([
    ['by another name', '$cursor: String', 'predictionFeed(after: $cursor)', 'cursor', true],
    [
      'in another argument too',
      '$a: String',
      'predictionFeed(after: $a, filter: { tags: [$a] })',
      'a',
      false,
    ],
  ])(
    '`after` %s splits a group only if it decides more than the start',
    async (_, variable, field, name, isShared) => {
      await using f = await fixture()
      const query = `subscription (${variable}) { ${field} { ... on PredictionEvent { cursor prediction { status } } } }`
      await addPredictions(f.store, f.app, 2)
      const watchers: TestSubscriber[] = []
      for (const seq of [0, 1]) {
        const after = await f.cursorAt(seq)
        await addPrediction(f.store, f.app, T, { tags: [after] })
        watchers.push(await f.subscribe(f.app, query, { [name]: after }))
      }
      const tags = await Promise.all([0, 1].map(seq => f.cursorAt(seq)))
      await until(() => watchers.every(watcher => watcher.payloads.length > 1))
      await addPrediction(f.store, f.app, T, { tags })
      const lasts = () => watchers.map(watcher => watcher.payloads.at(-1)!)
      const fifth = await f.cursorAt(5)
      await until(() => lasts().every(payload => String(payload.json).includes(fifth)))
      const [a, b] = lasts()
      expect(a!.json === b!.json).toBe(isShared)
    },
  )

  test('executes a per-subscriber field for each subscriber', async () => {
    await using f = await fixture()
    const query = FEED.replace('tags', 'queuePosition')
    const watchers = [await f.subscribe(f.app, query), await f.subscribe(f.app, query)]
    await addPrediction(f.store, f.app)
    await until(() => watchers.every(watcher => watcher.payloads.length === 2))
    const [a, b] = watchers.map(watcher => watcher.payloads[1]!.json)
    expect(String(a)).toContain('"queuePosition":1')
    expect(a).toEqual(b)
    expect(a === b).toBe(false)
  })

  test('loads other rows anew for each event', async () => {
    await using f = await fixture()
    const first = await addPrediction(f.store, f.app)
    const { id } = await addPrediction(f.store, f.app, T, { retryOf: first.id })
    await until(() => f.eventLog.head === 2)
    const query =
      'subscription { predictionFeed { ... on PredictionEvent { prediction { retryOf { status } } } } }'
    const watcher = await f.subscribe(f.app, query)
    const seen = () => watcher.payloads.map(({ json }) => /"status":"(\w+)"/.exec(String(json))?.[1])
    await until(() => watcher.payloads.length === 1)
    await f.store.change(id, () => ({ status: 'CREATED', submission: 'accepted' }), T)
    await until(() => watcher.payloads.length === 2)
    await f.store.change(first.id, () => ({ status: 'CANCELED' }), T)
    await f.store.change(id, () => ({ status: 'PROCESSING' }), T)
    await until(() => watcher.payloads.length === 4)
    expect([seen()[1], seen()[3]]).toEqual(['QUEUED', 'CANCELED'])
  })

  test('does not deliver events from before a subscription without a cursor, though the tail is late', async () => {
    await using f = await fixture()
    const { allEventsAfter } = f.store
    const early = await f.subscribe(f.app)
    await until(() => early.payloads.length === 1)
    let open = () => {}
    const gate = new Promise<void>(resolve => {
      open = resolve
    })
    f.store.allEventsAfter = async (...args) => {
      await gate
      return allEventsAfter(...args)
    }
    await addPrediction(f.store, f.app)
    const late = await f.subscribe(f.app)
    await until(() => late.payloads.length === 1)
    open()
    await until(() => early.payloads.length === 2)
    await addPrediction(f.store, f.app)
    await until(() => late.summary().includes('QUEUED 2'))
    expect(late.summary()).toEqual(['caught up', 'QUEUED 2'])
    expect(early.summary()).toEqual(['caught up', 'QUEUED 1', 'QUEUED 2'])
  })

  test('makes one payload for subscribers that replay the same events at the same time', async () => {
    await using f = await fixture()
    await addPredictions(f.store, f.app, 50)
    // Before that a replay could be caught up with fewer events, and get the others live.
    await until(() => f.eventLog.head === 50)
    const watchers: TestSubscriber[] = []
    for (let i = 0; i < 3; i++) watchers.push(await f.subscribe(f.app, FEED, { after: await f.cursorAt(i) }))
    await until(() => watchers.every(watcher => watcher.summary().includes('caught up')))
    const fortieth = await f.cursorAt(40)
    const payloadOf = (watcher: TestSubscriber) => watcher.payloads.find(({ cursor }) => cursor === fortieth)
    expect(new Set(watchers.map(watcher => payloadOf(watcher)!.json)).size).toBe(1)
  })

  test('delivers an event that is written during a replay once, in order', async () => {
    await using f = await fixture({ maxBufferBytes: 20_000 })
    await addPredictions(f.store, f.app, 250)
    await until(() => f.eventLog.head === 250)
    const { eventsAfter } = f.store
    let reads = 0
    f.store.eventsAfter = async request => {
      const answer = await eventsAfter(request)
      // Written after the read, and before the reader gets its result.
      if (reads++ < 3) await addPrediction(f.store, f.app, T + HOUR)
      return answer
    }
    const watcher = await f.subscribe(f.app, FEED, { after: await f.cursorAt(0) })
    await until(() => watcher.payloads.length >= 254)
    await addPrediction(f.store, f.app, T + HOUR)
    await until(() => watcher.summary().at(-1) === 'QUEUED 254')
    expect(reads).toBeGreaterThanOrEqual(3)
    expect(watcher.summary().filter(item => item !== 'caught up')).toEqual(queued(1, 254))
    expect(watcher.summary().filter(item => item === 'caught up')).toHaveLength(1)
  })

  test('a subscriber that joins a group gets every event, also if the group has read ahead of the tail', async () => {
    // Nothing stays in the buffer.
    await using f = await fixture({ maxBufferBytes: 1 })
    const first = await f.subscribe(f.app)
    await until(() => first.payloads.length === 1)
    const { allEventsAfter } = f.store
    let open = () => {}
    const gate = new Promise<void>(resolve => {
      open = resolve
    })
    let reads = 0
    f.store.allEventsAfter = async (...args) => {
      if (reads++ > 0) await gate
      return allEventsAfter(...args)
    }
    await addPrediction(f.store, f.app)
    // The tail has event 1, and the group waits for its time slice.
    while (f.eventLog.head < 1) await Promise.resolve()
    await addPredictions(f.store, f.app, 2)
    await until(() => first.payloads.length >= 2)
    const second = await f.subscribe(f.app, FEED, { after: await f.cursorAt(1) })
    await until(() => second.summary().includes('caught up'))
    open()
    await until(() => first.payloads.length === 4)
    await addPrediction(f.store, f.app)
    for (const watcher of [first, second]) await until(() => watcher.summary().includes('QUEUED 4'))
    expect(first.summary()).toEqual(['caught up', ...queued(1, 4)])
    expect(second.summary()).toEqual(['caught up', ...queued(2, 4)])
  })

  test('a subscriber that joins at any moment of a burst gets every later event once, in order', async () => {
    await using f = await fixture({ maxBufferBytes: 20_000 })
    const watchers: [number, TestSubscriber][] = []
    for (let i = 0; i < 60; i++) {
      const from = f.eventLog.head
      watchers.push([from, await f.subscribe(f.app, FEED, { after: await f.cursorAt(from) })])
      await addPredictions(f.store, f.app, 5)
      if (i % 7 === 0) await new Promise(setImmediate)
    }
    await until(() => watchers.every(([, watcher]) => watcher.summary().includes('QUEUED 300')))
    for (const [from, watcher] of watchers)
      expect(watcher.summary().filter(item => item !== 'caught up')).toEqual(queued(from + 1, 300))
  })

  test('a subscriber that is full waits for room and resumes where it was; the others are not affected', async () => {
    await using f = await fixture({ maxBufferBytes: 20_000 })
    const [stalled, live] = [await f.subscribe(f.app), await f.subscribe(f.app)]
    await addPredictions(f.store, f.app, 3)
    await until(() => [stalled, live].every(watcher => watcher.payloads.length === 4))
    stalled.isFull = true
    await addPredictions(f.store, f.app, 300)
    await until(() => live.payloads.length === 304)
    expect(stalled.payloads).toHaveLength(4)
    stalled.drain()
    await until(() => stalled.payloads.length === 304)
    await addPrediction(f.store, f.app)
    await until(() => [stalled, live].every(watcher => watcher.payloads.length === 305))
    expect(stalled.summary()).toEqual(live.summary())
    expect(live.summary()).toEqual(['caught up', ...queued(1, 304)])
  })

  test('a stalled replay does not delay other replays', async () => {
    await using f = await fixture({ maxBufferBytes: 1 })
    await addPredictions(f.store, f.app, 200)
    await until(() => f.eventLog.head === 200)
    const after = await f.cursorAt(0)
    const ask = () => f.subscribe(f.app, FEED, { after })
    const stalled = [await ask(), await ask()]
    for (const watcher of stalled) watcher.isFull = true
    const others = [await ask(), await ask()]
    for (const watcher of others) await until(() => watcher.summary().includes('caught up'))
    for (const watcher of stalled) {
      expect(watcher.summary()).not.toContain('caught up')
      watcher.drain()
      await until(() => watcher.summary().includes('caught up'))
    }
    for (const watcher of [...stalled, ...others])
      expect(watcher.summary()).toEqual([...queued(1, 200), 'caught up'])
  })

  test('events are not pruned while a replay waits for its client', async () => {
    await using f = await fixture({ maxBufferBytes: 20_000 })
    await addPredictions(f.store, f.app, 300)
    await until(() => f.eventLog.head === 300)
    const watcher = await f.subscribe(f.app, FEED, { after: await f.cursorAt(0) })
    await until(() => watcher.payloads.length > 0)
    watcher.isFull = true
    await until(() => f.eventLog.lowestPinnedSeq() !== null)
    const receivedBefore = watcher.payloads.length
    await f.store.pruneEvents({
      occurredBefore: T + HOUR,
      limit: 500,
      thisProcess: { lowestPinnedSeq: f.eventLog.lowestPinnedSeq()! },
    })
    watcher.drain()
    await until(() => watcher.summary().includes('caught up'))
    expect(watcher.summary()).toEqual([...queued(1, 300), 'caught up'])
    expect(receivedBefore).toBeLessThan(300)
    expect((await f.store.eventRange()).prunedUpTo).toBeGreaterThan(0)
    expect(f.eventLog.lowestPinnedSeq()).toBeNull()
  })

  test('pruned events that do not match its filter cause no gap for a quiet subscriber', async () => {
    await using f = await fixture({ maxBufferBytes: 20_000 })
    const filter = { tags: ['t'] }
    const [quiet, stalled, live] = [
      await f.subscribe(f.app, FEED, { filter }),
      await f.subscribe(f.app, FEED, { filter }),
      await f.subscribe(f.app),
    ]
    await until(() => stalled.payloads.length === 1)
    stalled.isFull = true
    await addPredictions(f.store, f.app, 300)
    await until(() => live.payloads.length === 301)
    await f.store.pruneEvents({ occurredBefore: T + HOUR, limit: 280 })
    await addPrediction(f.store, f.app, T, { tags: ['t'] })
    await until(() => quiet.payloads.length === 2)
    stalled.drain()
    await until(() => stalled.payloads.length === 2)
    for (const watcher of [quiet, stalled]) expect(watcher.summary()).toEqual(['caught up', 'QUEUED 301'])
  })

  test('a subscriber that fell behind pruning gets FeedGap, the others do not', async () => {
    await using f = await fixture({ maxBufferBytes: 20_000 })
    const [stalled, live] = [await f.subscribe(f.app), await f.subscribe(f.app)]
    await until(() => stalled.payloads.length === 1)
    stalled.isFull = true
    for (let i = 0; i < 30; i++) {
      await addPredictions(f.store, f.app, 10)
      await until(() => live.payloads.length === 10 * i + 11)
    }
    await f.store.pruneEvents({ occurredBefore: T + HOUR, limit: 250 })
    stalled.drain()
    await until(() => stalled.summary().at(-1) === 'QUEUED 300')
    expect(stalled.summary()).toEqual(['caught up', 'gap CURSOR_TOO_OLD', ...queued(251, 300)])
    expect(live.summary()).toEqual(['caught up', ...queued(1, 300)])
  })

  test('pins the log at the start cursor before it reads', async () => {
    await using f = await fixture()
    await addPredictions(f.store, f.app, 3)
    const { eventRange } = f.store
    let pinnedSeq: number | null = null
    f.store.eventRange = async () => {
      pinnedSeq = f.eventLog.lowestPinnedSeq()
      return eventRange()
    }
    const watcher = await f.subscribe(f.app, FEED, { after: await f.cursorAt(1) })
    await until(() => watcher.summary().includes('caught up'))
    expect(pinnedSeq).toBe(1)
  })

  test('ends live subscribers with an error if the log cannot be read, and serves those that reconnect', async () => {
    await using f = await fixture()
    const watchers = [await f.subscribe(f.app), await f.subscribe(f.app)]
    await until(() => watchers.every(watcher => watcher.payloads.length === 1))
    const { read } = f.eventLog
    f.eventLog.read = () => {
      throw new Error('the secret cause')
    }
    await addPrediction(f.store, f.app)
    for (const { finished } of watchers) await expect(finished).rejects.toThrow('Unexpected error.')
    expect(f.log).toHaveLength(1)
    f.eventLog.read = read
    const again = await f.subscribe(f.app, FEED, { after: await f.cursorAt(0) })
    await until(() => again.summary().includes('caught up'))
    await addPrediction(f.store, f.app)
    await until(() => again.summary().includes('QUEUED 2'))
    expect(again.summary().filter(item => item !== 'caught up')).toEqual(queued(1, 2))
  })

  test('live subscribers get FeedGap if pruning overtook the tail itself, then every remaining event', async () => {
    await using f = await fixture({ maxBufferBytes: 20_000 })
    const watcher = await f.subscribe(f.app)
    await until(() => watcher.payloads.length === 1)
    const { allEventsAfter } = f.store
    f.store.allEventsAfter = () => Promise.reject(new Error('asleep'))
    await addPredictions(f.store, f.app, 300)
    await f.store.pruneEvents({ occurredBefore: T + HOUR, limit: 250 })
    await until(() => f.log.length === 1)
    f.store.allEventsAfter = allEventsAfter
    await until(() => watcher.summary().at(-1) === 'QUEUED 300')
    expect(watcher.summary()).toEqual(['caught up', 'gap CURSOR_TOO_OLD', ...queued(251, 300)])
  })

  test('delivers the end of a watched prediction even if its event was pruned', async () => {
    await using f = await fixture({ maxBufferBytes: 600 })
    const { id } = await addPrediction(f.store, f.app)
    const variables = { id: encodeId('Prediction', id) }
    const [watcher, live] = [
      await f.subscribe(f.app, STATUS, variables),
      await f.subscribe(f.app, STATUS, variables),
    ]
    await until(() => watcher.payloads.length === 1 && live.payloads.length === 1)
    watcher.isFull = true
    await submitAll(f.store, T + SECOND)
    await f.store.change(id, pollSucceededAt(COMPLETED, T + SECOND, T), T + SECOND)
    await addPredictions(f.store, f.app, 3)
    await live.finished
    await until(() => f.eventLog.head === 6)
    await f.store.pruneEvents({ occurredBefore: T + HOUR, limit: 4 })
    watcher.drain()
    await watcher.finished
    expect(watcher.summary()).toEqual(['QUEUED', 'COMPLETED'])
  })

  test('ends predictionUpdated after the final state was delivered', async () => {
    await using f = await fixture()
    const { id } = await addPrediction(f.store, f.app)
    const watchers: TestSubscriber[] = []
    for (let i = 0; i < 3; i++)
      watchers.push(await f.subscribe(f.app, STATUS, { id: encodeId('Prediction', id) }))
    await until(() => watchers.every(watcher => watcher.payloads.length === 1))
    await f.store.change(id, () => ({ status: 'CANCELED' }), T)
    await Promise.all(watchers.map(watcher => watcher.finished))
    for (const watcher of watchers) expect(watcher.summary()).toEqual(['QUEUED', 'CANCELED'])
    const late = await f.subscribe(f.app, STATUS, { id: encodeId('Prediction', id) })
    await late.finished
    expect(late.summary()).toEqual(['CANCELED'])
  })

  test('delivers the events of one event-loop turn in one write', async () => {
    await using f = await fixture()
    const watcher = await f.subscribe(f.app)
    await until(() => watcher.payloads.length === 1)
    await addPredictions(f.store, f.app, 10)
    await until(() => watcher.payloads.length === 11)
    expect(watcher.writes).toBeLessThan(6)
  })

  test('writes a replay and a burst in pieces of about 32 KiB', async () => {
    await using f = await fixture()
    const live = await f.subscribe(f.app)
    await until(() => live.payloads.length === 1)
    await addPredictions(f.store, f.app, 500)
    const replayed = await f.subscribe(f.app, FEED, { after: await f.cursorAt(0) })
    for (const watcher of [live, replayed]) {
      await until(() => watcher.payloads.length === 501)
      const bytes = watcher.payloads.reduce((sum, { json }) => sum + json.length, 0)
      expect(watcher.writes).toBeGreaterThan(bytes / 64 / 1024)
      expect(watcher.writes).toBeLessThan(30)
    }
  })

  test('an event for thousands of subscribers leaves the event loop free in between', async () => {
    await using f = await fixture()
    let writeCount = 0
    const write = () => {
      writeCount++
      const end = performance.now() + 0.02
      while (performance.now() < end);
    }
    for (let i = 0; i < 3000; i++) await f.subscribe(f.app, FEED, {}, { onSend: write })
    await until(() => writeCount === 3000)
    let [passes, maxGapMs, last] = [0, 0, 0]
    const others = () => {
      const now = performance.now()
      maxGapMs = Math.max(maxGapMs, now - last)
      last = now
      passes++
      if (writeCount < 6000) setImmediate(others)
    }
    await addPrediction(f.store, f.app)
    await until(() => writeCount > 3000)
    last = performance.now()
    others()
    await until(() => writeCount === 6000)
    // 60 ms of writes, in slices of 5 ms.
    expect(passes).toBeGreaterThanOrEqual(8)
  })

  test('masks a field that fails, and logs it once for all subscribers', async () => {
    await using f = await fixture()
    const watchers: TestSubscriber[] = []
    for (let i = 0; i < 5; i++) watchers.push(await f.subscribe(f.app))
    await addPrediction(f.store, f.app, T, { tags: [null] as unknown as string[] })
    await until(() => watchers.every(watcher => watcher.payloads.length === 2))
    for (const watcher of watchers) expect(watcher.summary()[1]).toBe('Unexpected error.')
    expect(f.log).toHaveLength(1)
    await addPrediction(f.store, f.app)
    await until(() => watchers.every(watcher => watcher.summary().at(-1) === 'QUEUED 2'))
  })

  test('refreshes the cursor of a quiet subscriber, and of no other', async () => {
    await using f = await fixture({ cursorRefreshMs: 100 })
    const filter = { tags: ['nobody has it'] }
    const [quiet, again] = [
      await f.subscribe(f.app, FEED, { filter }),
      await f.subscribe(f.app, FEED, { filter: { tags: ['t'] } }),
    ]
    await addPredictions(f.store, f.app, 3)
    await until(() => quiet.payloads.length >= 4)
    expect(new Set(quiet.summary())).toEqual(new Set(['caught up']))
    expect(f.cursors.decode(quiet.payloads.at(-1)!.cursor!)?.seq).toBe(3)
    const cursors = quiet.payloads.map(payload => payload.cursor)
    expect(new Set(cursors).size).toBe(cursors.length)
    await addPrediction(f.store, f.app, T, { tags: ['t'] })
    await until(() => again.summary().includes('QUEUED 4'))
  })

  test('a client that has gone without closing ends at the next delivery', async () => {
    await using f = await fixture()
    const watchers = [await f.subscribe(f.app), await f.subscribe(f.app)]
    await until(() => watchers.every(watcher => watcher.payloads.length === 1))
    for (const watcher of watchers) watcher.isGone = true
    await addPrediction(f.store, f.app)
    await Promise.all(watchers.map(watcher => watcher.finished))
    expect(f.listenerCount()).toBe(0)
  })

  test('releases a subscriber that leaves at any moment', async () => {
    await using f = await fixture()
    const [gone, stays] = [await f.subscribe(f.app), await f.subscribe(f.app)]
    gone.unsubscribe()
    await gone.finished
    await addPrediction(f.store, f.app)
    await until(() => stays.summary().includes('QUEUED 1'))
    expect(gone.payloads.length).toBeLessThanOrEqual(1)
    expect(f.listenerCount()).toBe(1)
    stays.unsubscribe()
    await stays.finished
    await until(() => f.eventLog.lowestPinnedSeq() === null)
    expect(f.listenerCount()).toBe(0)
  })
})

test('every shared field of a prediction resolves without the store', async () => {
  const unusableStore = new Proxy({} as never, {
    get(_, name) {
      throw new Error(`the store was asked: ${String(name)}`)
    },
  })
  const { PER_SUBSCRIBER } = await import('../../src/graphql/builder.ts')
  const type = schema.getType('Prediction') as import('graphql').GraphQLObjectType
  const event = schema.getType('PredictionEvent') as import('graphql').GraphQLObjectType
  const fields = [...Object.values(type.getFields()), ...Object.values(event.getFields())]
  const sharedFields = fields.filter(field => !field.extensions[PER_SUBSCRIBER])
  expect(fields.filter(field => field.extensions[PER_SUBSCRIBER]).map(field => field.name)).toEqual([
    'history',
    'queuePosition',
    'retryOf',
  ])
  const prediction = { retryOf: 'x', status: 'QUEUED', createdAt: T, id: 'x' }
  const context = {
    store: unusableStore,
    loaders: unusableStore,
    sources: unusableStore,
    answerBudget: new AnswerBudget(),
  }
  for (const field of sharedFields)
    expect(() =>
      field.resolve?.({ ...prediction, prediction, seq: 1 }, {}, context, {
        fieldName: field.name,
        parentType: type,
        path: { key: field.name },
      } as never),
    ).not.toThrow()
})
