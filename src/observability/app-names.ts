/**
 * From an app's id to the name that its operator knows it by, for log lines and figures.
 * Invariant: an app's first request, and a start for the apps that were there, has its name learned before anything is
 * told of it. Names never change.
 */
import type { AppId } from '../domain/prediction.ts'
import type { Apps } from '../store/store.ts'

export interface Names {
  /** The id itself, of an app that nobody has heard of. */
  of(id: AppId): string
  learn(id: AppId): Promise<void>
}

export async function createNames(store: Pick<Apps, 'app' | 'listApps'>): Promise<Names> {
  const names = new Map((await store.listApps()).map(({ id, name }) => [id, name]))
  return {
    of: id => names.get(id) ?? id,
    async learn(id) {
      if (names.has(id)) return
      const app = await store.app(id)
      if (app !== null) names.set(id, app.name)
    },
  }
}

type Line = (fields: object, message: string) => void

/** The same log, with the name where a line has an `app`. */
export function withNames<Log extends Record<'debug' | 'info' | 'warn' | 'error', Line>>(
  log: Log,
  names: Names,
): Record<'debug' | 'info' | 'warn' | 'error', Line> {
  const named = (fields: object) =>
    'app' in fields ? { ...fields, app: names.of(fields.app as AppId) } : fields
  return {
    debug: (fields, message) => log.debug(named(fields), message),
    info: (fields, message) => log.info(named(fields), message),
    warn: (fields, message) => log.warn(named(fields), message),
    error: (fields, message) => log.error(named(fields), message),
  }
}
