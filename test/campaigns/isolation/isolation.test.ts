import { buildSchema } from 'graphql'
import { describe, expect, test } from 'vitest'
import { schema } from '../../../src/graphql/schema.ts'
import { TRANSPORT_CLIENTS } from '../../support/transports.ts'
import { until } from '../../support/until.ts'
import { checkIsolation } from './check-isolation.ts'
import { createProbes } from './probes.ts'
import { openIsolationScenario } from './scenario.ts'

test("what is a stranger's looks like what never was, at each place of the schema, over each transport", async () => {
  await using scene = await openIsolationScenario()
  const { breaches, probeCount: positions, requestCount } = await checkIsolation(schema, scene)
  expect(breaches).toEqual([])
  expect(positions).toBeGreaterThanOrEqual(40)
  expect(requestCount).toBeGreaterThan(5000)
}, 60_000)

describe('the walk goes', () => {
  const positionsIn = (fields: string) =>
    createProbes(buildSchema(`scalar JSON scalar DateTime ${fields}`)).map(({ name }) => name)

  test('wherever an id may stand: in arguments, inputs, lists, and further down', () => {
    expect(
      positionsIn(`
        type Query { plain: Int one(id: ID!, at: DateTime, size: Int): Thing many(of: [[ID!]!]): [Thing] found(in: Input!): Found }
        input Input @oneOf { a: Inner b: [Inner!] c: JSON }
        input Inner { again: Inner key: String! kind: Kind }
        enum Kind { A B }
        union Found = Thing | Other
        type Thing { id: ID! page(after: String): Int }
        type Other { thing(like: ID!): Thing }
      `),
    ).toEqual([
      'Query.plain',
      'Query.one',
      'Query.one(id)',
      'Query.one > Thing.page(after)',
      'Query.many',
      'Query.many(of)',
      'Query.many > Thing.page(after)',
      'Query.found',
      'Query.found(in.a.key)',
      'Query.found(in.b.key)',
      'Query.found(in.c)',
      'Query.found > Thing.page(after)',
      'Query.found > Other.thing(like)',
    ])
  })

  test('nowhere with what it does not know: a type that nobody has said how to fill is refused', () => {
    expect(() => positionsIn('scalar Film type Query { a(file: Film): Int }')).toThrow(
      'nobody knows what to fill a Film with',
    )
    expect(() =>
      positionsIn('scalar Film input I { id: ID file: Film! } type Query { a(i: I): Int }'),
    ).toThrow('nobody knows what to fill a Film with')
  })
})

describe("a stranger's events", () => {
  const FEED = 'subscription { predictionFeed { __typename ... on PredictionEvent { prediction { id } } } }'

  test.each(TRANSPORT_CLIENTS.filter(([transport]) => transport !== 'HTTP'))(
    'cost whoever asked for the same not one message, over %s',
    async (_, connect) => {
      await using scene = await openIsolationScenario()
      const { harness, target, observers } = scene
      await using theirs = await connect(harness, target.key)
      await using mine = await connect(harness, observers[0].key)
      const request = { query: FEED, variables: {} }
      const exchanges = [await theirs.send(request), await mine.send(request)]
      await until(() => exchanges.every(({ received }) => received.messages.length > 0))
      const [theirMessages, ownMessages] = exchanges.map(({ received }) => received.messages)
      for (let i = 0; i < 20; i++) await scene.submit(target)
      await until(() => theirMessages!.length === 21)
      expect(ownMessages).toHaveLength(1)
      await scene.submit(observers[0])
      await until(() => ownMessages!.length === 2)
      expect(theirMessages).toHaveLength(21)
      for (const { end } of exchanges) await end()
    },
  )

  test('change no figure of anybody else', async () => {
    await using scene = await openIsolationScenario()
    const usage = async (key: string) =>
      (
        await scene.harness.query(
          '{ viewer { usage { inFlight queued spentThisMonth { amount } } } }',
          {},
          key,
        )
      ).data
    const before = await Promise.all(scene.observers.map(({ key }) => usage(key)))
    const theirs = await usage(scene.target.key)
    await scene.submit(scene.target)
    expect(await Promise.all(scene.observers.map(({ key }) => usage(key)))).toEqual(before)
    expect(await usage(scene.target.key)).not.toEqual(theirs)
  })
})
