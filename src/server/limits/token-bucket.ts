/**
 * Token bucket: holds the tokens of one second, and is refilled continuously.
 * A class, like everything that there is for each connection: methods of its own would cost it 56 bytes each.
 */
import { setTimeout } from 'node:timers/promises'

export class TokenBucket {
  readonly #tokensPerSecond: number
  #tokens: number
  #refilledAt = performance.now()

  constructor(tokensPerSecond: number) {
    this.#tokensPerSecond = tokensPerSecond
    this.#tokens = tokensPerSecond
  }

  /** Takes a token if there is a whole one. */
  tryTake(): boolean {
    this.#refill()
    if (this.#tokens < 1) return false
    this.#tokens--
    return true
  }

  /** Takes tokens in any case. Returns whether the bucket is overdrawn afterwards. */
  take(count = 1): boolean {
    this.#refill()
    this.#tokens -= count
    return this.#tokens < 0
  }

  /** Resolves once the bucket is not overdrawn. Tokens that are taken meanwhile prolong the wait. */
  async whenRefilled(): Promise<void> {
    for (; this.#tokens < 0; this.#refill()) {
      const ms = (-this.#tokens / this.#tokensPerSecond) * 1000
      await setTimeout(ms, undefined, { ref: false })
    }
  }

  #refill(): void {
    const now = performance.now()
    const added = ((now - this.#refilledAt) / 1000) * this.#tokensPerSecond
    this.#tokens = Math.min(this.#tokensPerSecond, this.#tokens + added)
    this.#refilledAt = now
  }
}
