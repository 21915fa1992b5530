/**
 * What a resolver may reach, made anew for each operation: who asks, and loaders that read
 * what it sees and nothing else.
 */
import DataLoader from 'dataloader'
import type { Tokens } from '../auth/access-token.ts'
import type { Access, Scope } from '../domain/access-scope.ts'
import type { RefusalCode, RequestErrorCode } from '../domain/errors.ts'
import type { AppId, Prediction, PredictionEvent } from '../domain/prediction.ts'
import type { CursorsOf } from '../events/cursor.ts'
import type { Sources } from '../events/subscription-source.ts'
import type { Store, Usage } from '../store/store.ts'

export interface Services {
  store: Store
  sources: Sources
  cursorsOf: CursorsOf
  tokens: Tokens
  now: () => number
  /** Bytes of uploads that an app may keep. */
  mostUploadBytes: number
  /** Of a path of this gateway. */
  urlOf(path: string): string
  /** For what an operator may want to know and no app is told. */
  notice(fields: object, message: string): void
  /** For what an app is refused. */
  refused(appId: AppId, code: RefusalCode | RequestErrorCode): void
  /** Before a read that may take milliseconds: an app's come one after the other, and let the others' in between. */
  turn(appId: AppId): Promise<void>
}

/** Each made when it is first asked for. */
export interface Loaders {
  readonly predictions: DataLoader<string, Prediction | null>
  readonly queuePositions: DataLoader<string, number | null>
  readonly usage: Promise<Usage>
  /** The first `limit` events of a prediction behind `after`. */
  history(after: number, limit: number): DataLoader<string, PredictionEvent[]>
}

/** As many are read in one turn, some 3 ms. */
const MOST_EVENTS = 500

export interface Context extends Services {
  access: Access
  scope: Scope
  loaders: Loaders
  /** The cursor a client of server-sent events reconnects with; it beats the feed's `after`. */
  lastEventId?: string
  /** The log's head before any field was read, where the operation asks for it. */
  head?: number
  /** What a mutation answers; a refusal is counted. */
  told<Answer extends object>(answer: Promise<Answer>): Promise<Answer>
  /** The same asker's, with nothing loaded yet. */
  renew(): Context
}

export const createContext = (services: Services, access: Access): Context => ({
  ...services,
  access,
  scope: access.scope,
  loaders: createLoaders(services, access.scope),
  async told(answer) {
    const result = await answer
    if ('code' in result) services.refused(access.scope.appId, result.code as RefusalCode)
    return result
  },
  renew: () => createContext(services, access),
})

function createLoaders({ store, turn, now }: Services, scope: Scope): Loaders {
  const { appId } = scope
  let predictions: Loaders['predictions'] | null = null
  let queuePositions: Loaders['queuePositions'] | null = null
  let usage: Loaders['usage'] | null = null
  const histories = new Map<string, ReturnType<Loaders['history']>>()
  return {
    get predictions() {
      predictions ??= new DataLoader(ids => turn(appId).then(() => store.getMany(scope, ids)))
      return predictions
    },
    get queuePositions() {
      queuePositions ??= new DataLoader(ids => turn(appId).then(() => store.queuePositions(appId, ids)), {
        cache: false,
      })
      return queuePositions
    },
    get usage() {
      usage ??= turn(appId).then(() => store.usage(scope, now()))
      return usage
    },
    history(after, limit) {
      const asked = `${after} ${limit}`
      const known =
        histories.get(asked) ??
        new DataLoader(ids => turn(appId).then(() => store.histories(scope, ids, after, limit)), {
          cache: false,
          maxBatchSize: Math.max(1, Math.floor(MOST_EVENTS / limit)),
        })
      histories.set(asked, known)
      return known
    },
  }
}
