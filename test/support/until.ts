/**
 * Waits for a fact. A test never sleeps for a guess.
 */
import { setTimeout as pause } from 'node:timers/promises'

/** What `look` brings, once it is neither null, undefined nor false. Throws after `ms`. */
export async function until<Fact>(
  look: () => Promise<Fact | null | undefined | false> | Fact | null | undefined | false,
  ms = 10_000,
): Promise<Fact> {
  const deadline = Date.now() + ms
  for (;;) {
    const fact = await look()
    if (fact) return fact
    if (Date.now() > deadline) throw new Error(`waited ${ms} ms in vain for: ${look}`)
    await pause(10)
  }
}
