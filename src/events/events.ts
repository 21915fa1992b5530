/**
 * Builds what subscriptions and workers read events through: the event log, the cursors and the sources.
 */
import type { WakeSignal } from '../runtime/wake-signal.ts'
import type { Store } from '../store/store.ts'
import { type CursorsOf, createCursors } from './cursor.ts'
import { createEventLog, type EventLog } from './event-log.ts'
import { createSubscriptionSources, type SubscriptionSources } from './subscription-source.ts'

export interface Events {
  eventLog: EventLog
  cursorsOf: CursorsOf
  sources: SubscriptionSources
  /** Ends the tail of the event log. */
  close(): void
}

export async function createEvents(options: {
  store: Store
  /** Notified after a write: the store may have a new event. */
  wakeSignal: WakeSignal
  log: { error(fields: object, message: string): void }
}): Promise<Events> {
  const { store } = options
  const cursorsOf = createCursors(store.cursorKey, store.epoch)
  const sources = createSubscriptionSources(store, cursorsOf)
  const eventLog = await createEventLog(options)
  return { eventLog, cursorsOf, sources, close: eventLog.close }
}
