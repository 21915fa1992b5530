/**
 * App names by id. Log lines and metrics show the name.
 * Invariant: an app's name is loaded at the start, or at its first request, so before any line or metric
 * about the app. Names never change.
 */
import type { AppId } from '../domain/prediction.ts'
import type { AppStore } from '../store/store.ts'
import type { Log } from './log.ts'

export interface AppNames {
  /** Returns the id itself if the name is not loaded. */
  nameOf(id: AppId): string
  load(id: AppId): Promise<void>
}

export async function createAppNames(store: Pick<AppStore, 'getApp' | 'listApps'>): Promise<AppNames> {
  const names = new Map((await store.listApps()).map(({ id, name }) => [id, name]))
  return {
    nameOf: id => names.get(id) ?? id,
    async load(id) {
      if (names.has(id)) return
      const app = await store.getApp(id)
      if (app !== null) names.set(id, app.name)
    },
  }
}

/** The same log. In each line the id in `app` is replaced by the name. */
export function withAppNames(log: Log, names: AppNames): Log {
  const withAppName = (fields: object) =>
    'app' in fields ? { ...fields, app: names.nameOf(fields.app as AppId) } : fields
  return {
    debug: (fields, message) => log.debug(withAppName(fields), message),
    info: (fields, message) => log.info(withAppName(fields), message),
    warn: (fields, message) => log.warn(withAppName(fields), message),
    error: (fields, message) => log.error(withAppName(fields), message),
  }
}
