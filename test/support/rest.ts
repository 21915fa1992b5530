/**
 * A pause between two acts of chaos, cut short by `signal`. Never a wait for something: that is `until`.
 */
import { setTimeout as pause } from 'node:timers/promises'

export const rest = (ms: number, signal?: AbortSignal): Promise<void> =>
  pause(ms, undefined, signal && { signal }).catch(() => {})
