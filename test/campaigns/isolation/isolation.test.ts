import { buildSchema } from 'graphql'
import { describe, expect, test } from 'vitest'
import { schema } from '../../../src/graphql/schema.ts'
import { TRANSPORT_CLIENTS } from '../../support/transports.ts'
import { until } from '../../support/until.ts'
import { checkIsolation } from './check-isolation.ts'
import { createProbes } from './probes.ts'
import { openIsolationScenario } from './scenario.ts'

test("another app's objects look like missing ones, at each id position of the schema, over each transport", async () => {
  await using scenario = await openIsolationScenario()
  const { breaches, probeCount, requestCount } = await checkIsolation(schema, scenario)
  expect(breaches).toEqual([])
  expect(probeCount).toBeGreaterThanOrEqual(40)
  expect(requestCount).toBeGreaterThan(5000)
}, 60_000)

describe('id positions', () => {
  const positionsIn = (fields: string) =>
    createProbes(buildSchema(`scalar JSON scalar DateTime ${fields}`)).map(({ name }) => name)

  test('are found in arguments, inputs, lists and nested fields', () => {
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

  test('of a type without a sample value are an error', () => {
    expect(() => positionsIn('scalar Film type Query { a(file: Film): Int }')).toThrow(
      'no sample value for the scalar Film',
    )
    expect(() =>
      positionsIn('scalar Film input I { id: ID file: Film! } type Query { a(i: I): Int }'),
    ).toThrow('no sample value for the scalar Film')
  })
})

describe("another app's events", () => {
  const FEED = 'subscription { predictionFeed { __typename ... on PredictionEvent { prediction { id } } } }'

  test.each(TRANSPORT_CLIENTS.filter(([transport]) => transport !== 'HTTP'))(
    'send no message to a subscriber with the same operation, over %s',
    async (_, connect) => {
      await using scenario = await openIsolationScenario()
      const { harness, target, observers } = scenario
      await using targetClient = await connect(harness, target.key)
      await using observerClient = await connect(harness, observers[0].key)
      const request = { query: FEED, variables: {} }
      const exchanges = [await targetClient.send(request), await observerClient.send(request)]
      await until(() => exchanges.every(({ received }) => received.messages.length > 0))
      const [targetMessages, observerMessages] = exchanges.map(({ received }) => received.messages)
      for (let i = 0; i < 20; i++) await scenario.submit(target)
      await until(() => targetMessages!.length === 21)
      expect(observerMessages).toHaveLength(1)
      await scenario.submit(observers[0])
      await until(() => observerMessages!.length === 2)
      expect(targetMessages).toHaveLength(21)
      for (const { end } of exchanges) await end()
    },
  )

  test("change no other app's usage", async () => {
    await using scenario = await openIsolationScenario()
    const usage = async (key: string) =>
      (
        await scenario.harness.query(
          '{ viewer { usage { inFlight queued spentThisMonth { amount } } } }',
          {},
          key,
        )
      ).data
    const before = await Promise.all(scenario.observers.map(({ key }) => usage(key)))
    const targetUsage = await usage(scenario.target.key)
    await scenario.submit(scenario.target)
    expect(await Promise.all(scenario.observers.map(({ key }) => usage(key)))).toEqual(before)
    expect(await usage(scenario.target.key)).not.toEqual(targetUsage)
  })
})
