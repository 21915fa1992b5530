/**
 * The context of resolvers, created per operation: the caller's access, and loaders that read only what the
 * caller can see.
 */
import DataLoader from 'dataloader'
import type { Tokens } from '../auth/access-token.ts'
import type { Access, Scope } from '../domain/access-scope.ts'
import type { MutationErrorCode, RequestErrorCode } from '../domain/errors.ts'
import type { AppId, LogPosition, Prediction, PredictionEvent } from '../domain/prediction.ts'
import type { CursorsOf } from '../events/cursor.ts'
import type { SubscriptionSources } from '../events/subscription-source.ts'
import type { AppUsage, Store } from '../store/store.ts'
import { AnswerBudget } from './answer-budget.ts'

export interface Services {
  store: Store
  sources: SubscriptionSources
  cursorsOf: CursorsOf
  tokens: Tokens
  now: () => number
  /** Max bytes of uploads kept per app. */
  maxUploadBytesPerApp: number
  /** The absolute URL of a path of this gateway. */
  toPublicUrl(path: string): string
  /** Logs a notice for the operator; the app does not see it. */
  logNotice(fields: object, message: string): void
  /** Counts an error that an app received, by code. */
  countRejection(appId: AppId, code: MutationErrorCode | RequestErrorCode): void
  /**
   * Await before a read that may take milliseconds: reads of one app run one after another, and other apps'
   * reads run in between.
   */
  nextSlice(appId: AppId): Promise<void>
}

/** Each loader is created when first used. */
export interface Loaders {
  readonly predictions: DataLoader<string, Prediction | null>
  readonly queuePositions: DataLoader<string, number | null>
  readonly usage: Promise<AppUsage>
  /** The first `limit` events of a prediction after `after`. */
  history(after: number, limit: number): DataLoader<string, PredictionEvent[]>
}

/** Max events read in one slice: about 3 ms. */
const MAX_EVENTS_PER_SLICE = 500

/** Values that differ between two operations of one caller. */
interface OperationValues {
  /**
   * The cursor with which a client of server-sent events reconnects. It takes precedence over the feed's
   * `after`.
   */
  readonly lastEventId?: string | null
  /** The log's head before any field was read; set if the operation selects `feedCursor`. */
  readonly headPosition?: LogPosition | undefined
}

export interface Context extends Services, OperationValues {
  access: Access
  scope: Scope
  loaders: Loaders
  answerBudget: AnswerBudget
  /** Passes a mutation's result on, and counts it if it is an error. */
  countRejections<Result extends object>(result: Promise<Result>): Promise<Result>
  /** A context for the same caller with empty loaders. */
  fresh(): Context
}

export const createContext = (
  services: Services,
  access: Access,
  operationValues: OperationValues = {},
): Context => ({
  ...services,
  ...operationValues,
  access,
  scope: access.scope,
  loaders: createLoaders(services, access.scope),
  answerBudget: new AnswerBudget(),
  async countRejections(promise) {
    const result = await promise
    if ('code' in result) services.countRejection(access.scope.appId, result.code as MutationErrorCode)
    return result
  },
  fresh: () => createContext(services, access),
})

function createLoaders({ store, nextSlice, now }: Services, scope: Scope): Loaders {
  const { appId } = scope
  let predictions: Loaders['predictions'] | null = null
  let queuePositions: Loaders['queuePositions'] | null = null
  let usage: Loaders['usage'] | null = null
  const historyLoaders = new Map<string, ReturnType<Loaders['history']>>()
  return {
    get predictions() {
      predictions ??= new DataLoader(ids => nextSlice(appId).then(() => store.getMany(scope, ids)))
      return predictions
    },
    get queuePositions() {
      queuePositions ??= new DataLoader(
        ids => nextSlice(appId).then(() => store.queuePositions(appId, ids)),
        {
          cache: false,
        },
      )
      return queuePositions
    },
    get usage() {
      usage ??= nextSlice(appId).then(() => store.usage(scope, now()))
      return usage
    },
    history(after, limit) {
      const key = `${after} ${limit}`
      const loader =
        historyLoaders.get(key) ??
        new DataLoader(ids => nextSlice(appId).then(() => store.histories(scope, ids, after, limit)), {
          cache: false,
          maxBatchSize: Math.max(1, Math.floor(MAX_EVENTS_PER_SLICE / limit)),
        })
      historyLoaders.set(key, loader)
      return loader
    },
  }
}
