/**
 * Gives repeated requests one idempotency key: until the gateway has answered, and for 1.5 s after the last repetition.
 * A double click, a key held down or a lost answer therefore never pays twice.
 * Invariant: the same request later, after an answer, is a new attempt with a new key.
 */

export interface Attempts {
  /** @param requestText identifies the request: equal requests have equal texts */
  run<Result>(requestText: string, send: (key: string) => Promise<Result>): Promise<Result>
}

/** Time since the last repetition. A key held down repeats about thirty times a second. */
const REPEAT_WINDOW_MS = 1500

export function createAttempts(now: () => number = () => performance.now()): Attempts {
  const attempts = new Map<string, { key: string; lastCalledAt: number; isAnswered: boolean }>()

  return {
    async run(requestText, send) {
      const calledAt = now()
      for (const [text, { isAnswered, lastCalledAt }] of attempts)
        if (isAnswered && calledAt - lastCalledAt >= REPEAT_WINDOW_MS) attempts.delete(text)
      const attempt = attempts.get(requestText) ?? {
        key: createIdempotencyKey(),
        lastCalledAt: calledAt,
        isAnswered: false,
      }
      attempt.lastCalledAt = calledAt
      attempts.set(requestText, attempt)
      const result = await send(attempt.key)
      attempt.isAnswered = true
      return result
    },
  }
}

/** `crypto.randomUUID` does not exist on a page loaded by plain HTTP. */
export const createIdempotencyKey = (): string =>
  [...crypto.getRandomValues(new Uint8Array(16))].map(byte => byte.toString(16).padStart(2, '0')).join('')
