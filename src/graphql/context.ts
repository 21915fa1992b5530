/**
 * What a resolver may reach, made anew for each operation: one app, and loaders that read for that app alone.
 */
import DataLoader from 'dataloader'
import type { Cursors } from '../events/cursor.ts'
import type { Feed } from '../events/feed.ts'
import type { AppId, Prediction } from '../prediction.ts'
import type { Store } from '../store/store.ts'

export interface Services {
  store: Store
  feed: Feed
  cursors: Cursors
  now: () => number
  /** For what an operator may want to know and no app is told. */
  notice(fields: object, message: string): void
}

export interface Context extends Services {
  appId: AppId
  predictions: DataLoader<string, Prediction | null>
  queuePositions: DataLoader<string, number | null>
  /** The log's head before any field was read, where the operation asks for it. */
  head?: number
}

export const createContext = (services: Services, appId: AppId): Context => ({
  ...services,
  appId,
  predictions: new DataLoader(ids => services.store.getMany(appId, ids)),
  queuePositions: new DataLoader(ids => services.store.queuePositions(appId, ids), { cache: false }),
})
