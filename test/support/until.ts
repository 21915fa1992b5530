/**
 * Waits for a fact. A test does not sleep for a guess.
 */
import { setTimeout as delay } from 'node:timers/promises'

/** Calls `check` until its result is truthy, and returns that. Throws after `ms`. */
export async function until<Result>(
  check: () => Promise<Result | null | undefined | false> | Result | null | undefined | false,
  ms = 10_000,
): Promise<Result> {
  const deadline = Date.now() + ms
  for (;;) {
    const result = await check()
    if (result) return result
    if (Date.now() > deadline) throw new Error(`timed out after ${ms} ms waiting for: ${check}`)
    await delay(10)
  }
}
