/**
 * Events: a prediction's history, the feed, and one watched prediction.
 */

import { mayFollow } from '../domain/access-scope.ts'
import { EVENT_TYPES, type LogPosition, type Prediction } from '../domain/prediction.ts'
import {
  type FeedEvent,
  type FeedItem,
  GAP_REASONS,
  type GapReason,
  type SubscriptionSource,
} from '../events/subscription-source.ts'
import { builder, PER_SUBSCRIBER } from './builder.ts'
import { decodeIdOf } from './global-id.ts'
import { pageCost, parseLimit, toConnection } from './pagination.ts'
import { PredictionType } from './prediction.ts'
import { PredictionFilter, PredictionStatusEnum, parseFilter } from './prediction-filter.ts'
import { badArgument, requestError } from './request-errors.ts'

const PredictionEventTypeEnum = builder.enumType('PredictionEventType', { values: EVENT_TYPES })

const PredictionEventType = builder.objectRef<FeedEvent>('PredictionEvent').implement({
  fields: t => ({
    cursor: t.exposeString('cursor'),
    type: t.expose('type', { type: PredictionEventTypeEnum }),
    prediction: t.expose('prediction', {
      type: PredictionType,
      description: 'As it was right after this event.',
    }),
    previousStatus: t.expose('previousStatus', { type: PredictionStatusEnum, nullable: true }),
    occurredAt: t.expose('occurredAt', { type: 'DateTime' }),
  }),
})

const PredictionEventEdge = builder.edgeObject({ name: 'PredictionEventEdge', type: PredictionEventType })
const PredictionEventConnection = builder.connectionObject(
  { name: 'PredictionEventConnection', type: PredictionEventType },
  PredictionEventEdge,
)

const LOG_START: LogPosition = { seq: 0, mark: null }

builder.objectField(PredictionType, 'history', t =>
  t.field({
    type: PredictionEventConnection,
    description:
      'Its events, oldest first, as far back as events are kept. 20 a page unless `first` says otherwise.',
    args: { first: t.arg.int(), after: t.arg.string() },
    complexity: pageCost,
    extensions: { [PER_SUBSCRIBER]: true },
    resolve: async (prediction, { first, after }, { access, scope, loaders, store, cursorsOf }) => {
      const cursors = cursorsOf(scope.appId)
      const limit = parseLimit('first', first)
      const start = typeof after === 'string' ? cursors.decode(after) : LOG_START
      if (start === null || (after && !(await store.eventRange(start)).isSameHistory))
        throw badArgument('after', 'a cursor of this history')
      const afterSeq = start.seq
      const allEvents = await loaders.history(afterSeq, limit + 1).load(prediction.id)
      const events = mayFollow(access, prediction)
        ? allEvents
        : allEvents.filter(({ type }) => type === 'QUEUED')
      const edges = events.slice(0, limit).map(event => {
        const cursor = cursors.encode(event)
        return { cursor, node: { ...event, cursor } }
      })
      return toConnection(edges, { hasNextPage: events.length > limit, hasPreviousPage: afterSeq > 0 })
    },
  }),
)

const FeedCaughtUp = builder.objectRef<{ cursor: string }>('FeedCaughtUp').implement({
  description: 'What was asked for with `after` has been sent; from here on it is live.',
  fields: t => ({ cursor: t.exposeString('cursor') }),
})

const FeedGap = builder.objectRef<{ reason: GapReason; cursor: string }>('FeedGap').implement({
  description:
    "The cursor can't be honoured: read the list again, then follow from this cursor. The stream goes on from it, live.",
  fields: t => ({
    reason: t.expose('reason', { type: builder.enumType('FeedGapReason', { values: GAP_REASONS }) }),
    cursor: t.exposeString('cursor'),
  }),
})

const FEED_ITEM_TYPES = {
  event: PredictionEventType,
  'caught-up': FeedCaughtUp,
  gap: FeedGap,
} as const satisfies Record<FeedItem['kind'], unknown>

const PredictionFeedItem = builder.unionType('PredictionFeedItem', {
  types: [PredictionEventType, FeedCaughtUp, FeedGap],
  resolveType: item => FEED_ITEM_TYPES[(item as FeedItem).kind],
})

builder.queryField('feedCursor', t =>
  t.string({
    description:
      "The feed's head, read before any other field of its operation: a list read beside it, then predictionFeed(after: it), together miss nothing.",
    resolve: async (_root, _args, { headPosition, scope, store, cursorsOf }) =>
      cursorsOf(scope.appId).encodeHead(headPosition ?? (await store.eventRange()).headPosition),
  }),
)

builder.subscriptionFields(t => ({
  predictionUpdated: t.field({
    type: PredictionType,
    description:
      'Its present state at once, then every change while connected; completed after a final state.',
    args: { id: t.arg.id({ required: true }) },
    subscribe: async (_root, { id }, { scope, sources }) => {
      const source = await sources.watchPrediction(scope, decodeIdOf('Prediction', id))
      if (source === null) throw requestError('NOT_FOUND')
      return asSubscribeResult(source)
    },
    resolve: prediction => prediction as unknown as Prediction,
  }),

  predictionFeed: t.field({
    type: PredictionFeedItem,
    description:
      "Every change to the app's predictions that the filter lets through, in order, each once: from right behind `after`, or from now on.",
    args: { after: t.arg.string(), filter: t.arg({ type: PredictionFilter }) },
    subscribe: (_root, { after, filter }, { scope, sources, lastEventId }) =>
      asSubscribeResult(
        sources.followFeed(scope, lastEventId ?? after ?? null, filter ? parseFilter(filter) : undefined),
      ),
    resolve: item => item as unknown as FeedItem,
  }),
}))

/**
 * graphql-js requires an async iterable from `subscribe`. The fan-out reads the source itself and never
 * iterates it.
 */
const asSubscribeResult = (source: SubscriptionSource): SubscriptionSource & AsyncIterable<unknown> =>
  Object.assign(source, {
    [Symbol.asyncIterator]: () => {
      throw new Error('only the fan-out reads a subscription source')
    },
  })
