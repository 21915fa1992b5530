/**
 * What a resolver may reach, made anew for each operation: who asks, and loaders that read
 * what it sees and nothing else.
 */
import DataLoader from 'dataloader'
import type { Tokens } from '../auth/access-token.ts'
import type { Access, Scope } from '../domain/access-scope.ts'
import type { MutationErrorCode, RequestErrorCode } from '../domain/errors.ts'
import type { AppId, Prediction, PredictionEvent } from '../domain/prediction.ts'
import type { CursorsOf } from '../events/cursor.ts'
import type { SubscriptionSources } from '../events/subscription-source.ts'
import type { AppUsage, Store } from '../store/store.ts'

export interface Services {
  store: Store
  sources: SubscriptionSources
  cursorsOf: CursorsOf
  tokens: Tokens
  now: () => number
  /** Bytes of uploads that an app may keep. */
  maxUploadBytesPerApp: number
  /** Of a path of this gateway. */
  publicUrl(path: string): string
  /** For what an operator may want to know and no app is told. */
  logNotice(fields: object, message: string): void
  /** For what an app is refused. */
  countRejection(appId: AppId, code: MutationErrorCode | RequestErrorCode): void
  /** Before a read that may take milliseconds: an app's come one after the other, and let the others' in between. */
  nextSlice(appId: AppId): Promise<void>
}

/** Each made when it is first asked for. */
export interface Loaders {
  readonly predictions: DataLoader<string, Prediction | null>
  readonly queuePositions: DataLoader<string, number | null>
  readonly usage: Promise<AppUsage>
  /** The first `limit` events of a prediction behind `after`. */
  history(after: number, limit: number): DataLoader<string, PredictionEvent[]>
}

/** As many are read in one turn, some 3 ms. */
const MAX_EVENTS_PER_SLICE = 500

export interface Context extends Services {
  access: Access
  scope: Scope
  loaders: Loaders
  /** The cursor a client of server-sent events reconnects with; it beats the feed's `after`. */
  lastEventId?: string
  /** The log's head before any field was read, where the operation asks for it. */
  headSeq?: number
  /** What a mutation answers; a refusal is counted. */
  countRejections<Result extends object>(result: Promise<Result>): Promise<Result>
  /** The same asker's, with nothing loaded yet. */
  fresh(): Context
}

export const createContext = (services: Services, access: Access): Context => ({
  ...services,
  access,
  scope: access.scope,
  loaders: createLoaders(services, access.scope),
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
