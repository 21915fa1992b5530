/**
 * Logs one line a minute for each app that has jobs or subscriptions.
 */
import { fullScope } from '../domain/access-scope.ts'
import { MICROS_PER_USD } from '../domain/models.ts'
import { MINUTE_MS } from '../domain/time.ts'
import type { Store } from '../store/store.ts'

/** Number of subscriptions by app. */
export type SubscriptionsByApp = () => ReadonlyMap<string, number>

export interface ActivityLog {
  start(subscriptionsByApp: SubscriptionsByApp): void
  close(): void
}

export function createActivityLog(options: {
  store: Pick<Store, 'listApps' | 'usage'>
  now: () => number
  log: { info(fields: object, message: string): void }
}): ActivityLog {
  const { store, now, log } = options
  let timer: NodeJS.Timeout | undefined

  async function logActivity(subscriptionsByApp: SubscriptionsByApp): Promise<void> {
    for (const { id } of await store.listApps()) {
      const { queued, inFlight, spent } = await store.usage(fullScope(id), now())
      const subscriptions = subscriptionsByApp().get(id) ?? 0
      if (queued + inFlight + subscriptions > 0)
        log.info(
          { app: id, queued, inFlight, spentUsd: spent / MICROS_PER_USD, subscriptions },
          'app activity',
        )
    }
  }

  return {
    start(subscriptionsByApp) {
      timer = setInterval(() => logActivity(subscriptionsByApp).catch(() => {}), MINUTE_MS)
      timer.unref()
    },
    close: () => clearInterval(timer),
  }
}
