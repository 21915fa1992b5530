/**
 * Adds a key to an app by its name: for the demo key of a start on the simulator, and for tests.
 */
import type { AppStore } from '../store/store.ts'
import { createKey } from './api-key.ts'

/**
 * Creates the app if it does not exist. Returns the key.
 * @param expiresAt ms since 1970
 */
export async function issueKey(
  store: Pick<AppStore, 'findAppByName' | 'createApp' | 'addKey'>,
  appName: string,
  expiresAt: number,
  now: number,
): Promise<string> {
  const app = (await store.findAppByName(appName)) ?? (await store.createApp(appName, now))
  if (app === null) throw new Error(`app ${appName} was deleted while it was created`)
  const { key, prefix, hash } = createKey()
  await store.addKey(app.id, { prefix, hash, expiresAt }, now)
  return key
}
