/**
 * One attempt has one idempotency key, however often it is asked for: until the gateway has answered it, and for a moment
 * after that. So a double click, a key held down, or an answer that was lost pays for nothing twice.
 * Invariant: whoever asks for the same again, later and with the answer seen, wants another one.
 */

export interface Attempts {
  /** @param requestText what is asked for, the same words for the same */
  run<Result>(requestText: string, send: (key: string) => Promise<Result>): Promise<Result>
}

/** Since it was last asked for. A key held down repeats some thirty times a second. */
const REPEAT_WINDOW_MS = 1500

export function createAttempts(now: () => number = () => performance.now()): Attempts {
  const attempts = new Map<string, { key: string; lastAskedAt: number; isAnswered: boolean }>()

  return {
    async run(requestText, send) {
      const calledAt = now()
      for (const [text, { isAnswered, lastAskedAt }] of attempts)
        if (isAnswered && calledAt - lastAskedAt >= REPEAT_WINDOW_MS) attempts.delete(text)
      const attempt = attempts.get(requestText) ?? {
        key: createIdempotencyKey(),
        lastAskedAt: calledAt,
        isAnswered: false,
      }
      attempt.lastAskedAt = calledAt
      attempts.set(requestText, attempt)
      const result = await send(attempt.key)
      attempt.isAnswered = true
      return result
    },
  }
}

/** A page that came by plain http has no `randomUUID`. */
export const createIdempotencyKey = (): string =>
  [...crypto.getRandomValues(new Uint8Array(16))].map(byte => byte.toString(16).padStart(2, '0')).join('')
