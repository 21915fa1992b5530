/**
 * Clocks that a test moves. They run, and are ahead of the machine's by what the test has added.
 */
import type { Clocks } from '../../src/runtime/clocks.ts'

export interface TestClocks extends Clocks {
  /** Time passes, and the process runs. */
  advance(ms: number): void
  /** The machine sleeps: its monotonic clock stands still. */
  sleep(ms: number): void
  /** Someone sets the wall clock. */
  set(ms: number): void
}

/** @param hasBootClock default true */
export function createTestClocks(hasBootClock = true): TestClocks {
  const ahead = { wall: 0, monotonic: 0, boot: 0 }
  return {
    wall: () => Date.now() + ahead.wall,
    monotonic: () => performance.now() + ahead.monotonic,
    boot: () => (hasBootClock ? performance.now() + ahead.boot : null),
    advance(ms) {
      for (const clock of ['wall', 'monotonic', 'boot'] as const) ahead[clock] += ms
    },
    sleep(ms) {
      for (const clock of ['wall', 'boot'] as const) ahead[clock] += ms
    },
    set(ms) {
      ahead.wall += ms
    },
  }
}

/** Clocks that all follow `now`: time passes, and the process runs. */
export const clocksFrom = (now: () => number): Clocks => ({ wall: now, monotonic: now, boot: now })
