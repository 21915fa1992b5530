import { buildSchema } from 'graphql'
import { describe, expect, test } from 'vitest'
import { schema } from '../../../src/graphql/schema.ts'
import { DOORS } from '../../support/doors.ts'
import { until } from '../../support/until.ts'
import { placesOf } from './places.ts'
import { openScene } from './scene.ts'
import { walk } from './walk.ts'

test("what is a stranger's looks like what never was, at each place of the schema, over each transport", async () => {
  await using scene = await openScene()
  const { found, places, asked } = await walk(schema, scene)
  expect(found).toEqual([])
  expect(places).toBeGreaterThanOrEqual(40)
  expect(asked).toBeGreaterThan(5000)
}, 60_000)

describe('the walk goes', () => {
  const placesIn = (fields: string) =>
    placesOf(buildSchema(`scalar JSON scalar DateTime ${fields}`)).map(({ name }) => name)

  test('wherever an id may stand: in arguments, inputs, lists, and further down', () => {
    expect(
      placesIn(`
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
    expect(() => placesIn('scalar Film type Query { a(file: Film): Int }')).toThrow(
      'nobody knows what to fill a Film with',
    )
    expect(() => placesIn('scalar Film input I { id: ID file: Film! } type Query { a(i: I): Int }')).toThrow(
      'nobody knows what to fill a Film with',
    )
  })
})

describe("a stranger's events", () => {
  const FEED = 'subscription { predictionFeed { __typename ... on PredictionEvent { prediction { id } } } }'

  test.each(DOORS.filter(([door]) => door !== 'HTTP'))(
    'cost whoever asked for the same not one message, over %s',
    async (_, connect) => {
      await using scene = await openScene()
      const { harness, rich, askers } = scene
      await using theirs = await connect(harness, rich.key)
      await using mine = await connect(harness, askers[0].key)
      const request = { query: FEED, variables: {} }
      const feeds = [await theirs.ask(request), await mine.ask(request)]
      await until(() => feeds.every(({ heard }) => heard.told.length > 0))
      const [told, untold] = feeds.map(({ heard }) => heard.told)
      for (let i = 0; i < 20; i++) await scene.submit(rich)
      await until(() => told!.length === 21)
      expect(untold).toHaveLength(1)
      await scene.submit(askers[0])
      await until(() => untold!.length === 2)
      expect(told).toHaveLength(21)
      for (const { end } of feeds) await end()
    },
  )

  test('change no figure of anybody else', async () => {
    await using scene = await openScene()
    const usage = async (key: string) =>
      (
        await scene.harness.query(
          '{ viewer { usage { inFlight queued spentThisMonth { amount } } } }',
          {},
          key,
        )
      ).data
    const before = await Promise.all(scene.askers.map(({ key }) => usage(key)))
    const theirs = await usage(scene.rich.key)
    await scene.submit(scene.rich)
    expect(await Promise.all(scene.askers.map(({ key }) => usage(key)))).toEqual(before)
    expect(await usage(scene.rich.key)).not.toEqual(theirs)
  })
})
