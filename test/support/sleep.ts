/**
 * A delay between two faults, ended early by `signal`. To wait for a fact use `until`.
 */
import { setTimeout as delay } from 'node:timers/promises'

export const sleep = (ms: number, signal?: AbortSignal): Promise<void> =>
  delay(ms, undefined, signal && { signal }).catch(() => {})
