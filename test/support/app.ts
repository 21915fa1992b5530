/**
 * Creates an app with a key directly in a gateway's database, whether the gateway runs or not.
 */
import { createKey } from '../../src/auth/api-key.ts'
import { openStore } from '../../src/store/open-store.ts'

export interface App {
  name: string
  key: string
}

export async function createApp(database: string, name: string): Promise<App> {
  const { key, prefix, hash } = createKey()
  const store = await openStore(`file:${database}`, () => {})
  const app = await store.createApp(name, Date.now())
  await store.addKey(app!.id, { prefix, hash, expiresAt: null }, Date.now())
  await store.close()
  return { name, key }
}
