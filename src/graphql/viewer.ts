/**
 * The caller's app: its limits and its usage.
 */
import type { App } from '../store/store.ts'
import { builder, QUERY_COST } from './builder.ts'
import { Cost } from './cost.ts'

const AppLimits = builder.objectRef<App['limits']>('AppLimits').implement({
  description: 'What an app may use; null is no limit.',
  fields: t => ({
    maxInFlight: t.exposeInt('maxInFlight', {
      nullable: true,
      description: 'Holds jobs back in the queue and refuses nothing.',
    }),
    maxQueued: t.exposeInt('maxQueued', { nullable: true }),
    submitsPerMinute: t.exposeInt('submitsPerMinute', { nullable: true }),
    monthlyBudget: t.field({ type: Cost, nullable: true, resolve: limits => limits.monthlyBudget }),
    weight: t.exposeInt('weight', {
      description: "The app's share of scarce slots, against the others' weights.",
    }),
  }),
})

const AppUsage = builder
  .objectRef<{ inFlight: number; queued: number; spent: number }>('AppUsage')
  .implement({
    fields: t => ({
      inFlight: t.exposeInt('inFlight', { description: 'Sent, and not yet ended.' }),
      queued: t.exposeInt('queued', { description: 'Waiting to be sent.' }),
      spentThisMonth: t.field({
        type: Cost,
        description: 'The cost of predictions created in this UTC month, whatever became of them.',
        resolve: usage => usage.spent,
      }),
    }),
  })

const AppType = builder.objectRef<App>('App')

builder.node(AppType, {
  description: 'An app that shares this gateway.',
  id: { resolve: app => app.id },
  loadManyWithoutCache: async (ids, { scope, store }) => {
    const app = await store.getApp(scope.appId)
    return ids.map(id => (id === scope.appId ? app : null))
  },
  fields: t => ({
    name: t.exposeString('name'),
    limits: t.expose('limits', { type: AppLimits }),
    usage: t.field({
      type: AppUsage,
      description: 'Of what the key or token sees.',
      complexity: QUERY_COST,
      resolve: (_app, _args, { loaders }) => loaders.usage,
    }),
  }),
})

builder.queryField('viewer', t =>
  t.field({
    type: AppType,
    description: 'The app whose key this is.',
    resolve: async (_root, _args, { scope: { appId }, store }) => {
      const app = await store.getApp(appId)
      if (app === null) throw new Error(`app ${appId} has a key and no row`)
      return app
    },
  }),
)
