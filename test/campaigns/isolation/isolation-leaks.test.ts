import {
  extendSchema,
  GraphQLError,
  type GraphQLFieldResolver,
  type GraphQLObjectType,
  type GraphQLSchema,
  parse,
} from 'graphql'
import { expect, test, vi } from 'vitest'
import type { Prediction } from '../../../src/domain/prediction.ts'
import type { Context } from '../../../src/graphql/context.ts'
import { decodeIdOf } from '../../../src/graphql/global-id.ts'
import { schema } from '../../../src/graphql/schema.ts'
import { checkIsolation } from './check-isolation.ts'
import { openIsolationScenario } from './scenario.ts'

type Resolver = GraphQLFieldResolver<unknown, Context>

/** The schema with one leak of each kind that the check must find. */
vi.mock(import('../../../src/graphql/schema.ts'), async original => {
  const { schema } = await original()
  const leaky: GraphQLSchema = extendSchema(
    schema,
    parse(`
      extend type Query { peek(id: ID!): Prediction  exists(ids: [ID!]): String  sized(in: Sized): String  neighbours: [ID!]! }
      input Sized @oneOf { of: ID like: String }
      extend type Mutation { touch(id: ID!): Boolean }
      extend type Prediction { newest(after: String): String }
    `),
  )
  const resolvers: Record<string, Resolver> = {
    'Query.peek': (_, { id }, { store }) => findInAnyApp(store, decodeIdOf('Prediction', id)),
    // Reveals only that the prediction exists.
    'Query.exists': async (_, { ids }, { store, scope }) => {
      for (const id of ids ?? []) {
        const prediction = await findInAnyApp(store, decodeIdOf('Prediction', id))
        if (prediction && prediction.appId !== scope.appId) throw new GraphQLError('This is not yours.')
      }
      return 'no'
    },
    'Query.sized': async (_, { in: of }, { store }) =>
      (await findInAnyApp(store, decodeIdOf('Prediction', of?.of ?? ''))) ? 'found' : 'none ',
    'Query.neighbours': async (_, __, { store }) =>
      (await store.allEventsAfter(0, 1)).events.map(({ prediction }) => prediction.id),
    'Mutation.touch': async (_, { id }, { store, now }) => {
      await store.change(decodeIdOf('Prediction', id), () => ({ dueAt: now() + 1 }), now())
      return true
    },
    'Prediction.newest': (_, { after }, { cursorsOf, store }) =>
      store
        .allEventsAfter(0, 1)
        .then(({ events }) => (cursorsOf(events[0]!.prediction.appId).decode(after ?? '') ? 'old' : 'new')),
  }
  for (const [name, resolve] of Object.entries(resolvers)) {
    const [type, field] = name.split('.') as [string, string]
    ;(leaky.getType(type) as GraphQLObjectType<unknown, Context>).getFields()[field]!.resolve = resolve
  }
  return { schema: leaky as typeof schema }
})

/** A prediction of any app. */
async function findInAnyApp(store: Context['store'], id: string): Promise<Prediction | null> {
  let seen: Prediction | null = null
  await store.change(
    id,
    job => {
      seen = job
      return null
    },
    0,
  )
  return seen
}

test.each([
  ["another app's prediction", /^Query.peek\(/, /it reveals "heron"/],
  [
    'that a prediction exists, by another error',
    /^Query.exists\(/,
    /the answer differs from the one for a nonexistent value/,
  ],
  [
    'that a prediction exists, from inside an input',
    /^Query.sized\(in.of\)/,
    /the answer differs from the one for a nonexistent value/,
  ],
  ['an id that was not requested', /^Query.neighbours$/, /it reveals "[\da-f-]{36}"/],
  ["a change of another app's row", /^Mutation.touch\(/, /the target's rows changed/],
  [
    'the owner of a cursor, two levels deep',
    /^Query.prediction > Prediction.newest/,
    /the answer differs from the one for a nonexistent value/,
  ],
])('the check finds a field that exposes %s', async (_, nameFilter, expectedBreach) => {
  await using scenario = await openIsolationScenario()
  const { breaches, probeCount } = await checkIsolation(schema, scenario, nameFilter)
  expect(probeCount).toBe(1)
  expect(breaches.some(breach => expectedBreach.test(breach))).toBe(true)
})
