/**
 * What a resolver may reach, made anew for each operation: one app, and loaders that read for that app alone.
 */
import DataLoader from 'dataloader'
import type { Cursors } from '../events/cursor.ts'
import type { Sources } from '../events/source.ts'
import type { AppId, Prediction } from '../prediction.ts'
import type { Store } from '../store/store.ts'

export interface Services {
  store: Store
  sources: Sources
  cursors: Cursors
  now: () => number
  /** For what an operator may want to know and no app is told. */
  notice(fields: object, message: string): void
}

/** Each made when it is first asked for. */
export interface Loaders {
  readonly predictions: DataLoader<string, Prediction | null>
  readonly queuePositions: DataLoader<string, number | null>
}

export interface Context extends Services {
  appId: AppId
  loaders: Loaders
  /** The cursor a client of server-sent events reconnects with; it beats the feed's `after`. */
  lastEventId?: string
  /** The log's head before any field was read, where the operation asks for it. */
  head?: number
  /** The same asker's, with nothing loaded yet. */
  renew(): Context
}

export const createContext = (services: Services, appId: AppId): Context => ({
  ...services,
  appId,
  loaders: createLoaders(services.store, appId),
  renew: () => createContext(services, appId),
})

function createLoaders(store: Store, appId: AppId): Loaders {
  let predictions: Loaders['predictions'] | null = null
  let queuePositions: Loaders['queuePositions'] | null = null
  return {
    get predictions() {
      predictions ??= new DataLoader(ids => store.getMany(appId, ids))
      return predictions
    },
    get queuePositions() {
      queuePositions ??= new DataLoader(ids => store.queuePositions(appId, ids), { cache: false })
      return queuePositions
    },
  }
}
