/**
 * Waits for a fact. A test never sleeps for a guess.
 */
import { setTimeout as delay } from 'node:timers/promises'

/** What `look` brings, once it is neither null, undefined nor false. Throws after `ms`. */
export async function until<Result>(
  check: () => Promise<Result | null | undefined | false> | Result | null | undefined | false,
  ms = 10_000,
): Promise<Result> {
  const deadline = Date.now() + ms
  for (;;) {
    const result = await check()
    if (result) return result
    if (Date.now() > deadline) throw new Error(`waited ${ms} ms in vain for: ${check}`)
    await delay(10)
  }
}
