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

/** The schema with a leak of each kind that the walk is there to find. */
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
    // Nothing of it is told, but that there is one.
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

/** Of whichever app it is. */
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
  ["a stranger's prediction", /^Query.peek\(/, /it tells "heron"/],
  ['whether there is one, by another error', /^Query.exists\(/, /it differs from what never was/],
  ['whether there is one, within an input', /^Query.sized\(in.of\)/, /it differs from what never was/],
  ['an id that nobody asked for', /^Query.neighbours$/, /it tells "[\da-f-]{36}"/],
  ['a change', /^Mutation.touch\(/, /it changes what is theirs/],
  [
    'whose a cursor is, two steps down',
    /^Query.prediction > Prediction.newest/,
    /it differs from what never was/,
  ],
])('the walk finds a field that gives away %s', async (_, only, finding) => {
  await using scene = await openIsolationScenario()
  const { breaches, probeCount: positions } = await checkIsolation(schema, scene, only)
  expect(positions).toBe(1)
  expect(breaches.some(fault => finding.test(fault))).toBe(true)
})
