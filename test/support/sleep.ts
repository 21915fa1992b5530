/**
 * A pause between two acts of chaos, cut short by `signal`. Never a wait for something: that is `until`.
 */
import { setTimeout as delay } from 'node:timers/promises'

export const sleep = (ms: number, signal?: AbortSignal): Promise<void> =>
  delay(ms, undefined, signal && { signal }).catch(() => {})
