/**
 * One attempt has one idempotency key, however often it is asked for: until the gateway has answered it, and for a moment
 * after that. So a double click, a key held down, or an answer that was lost pays for nothing twice.
 * Invariant: whoever asks for the same again, later and with the answer seen, wants another one.
 */

export interface Attempts {
  /** @param of what is asked for, the same words for the same */
  ask<Answer>(of: string, ask: (key: string) => Promise<Answer>): Promise<Answer>
}

/** Since it was last asked for. A key held down repeats some thirty times a second. */
const CALM_MS = 1500

export function createAttempts(now: () => number = () => performance.now()): Attempts {
  const attempts = new Map<string, { key: string; askedAt: number; isAnswered: boolean }>()

  return {
    async ask(of, ask) {
      const at = now()
      for (const [words, { isAnswered, askedAt }] of attempts)
        if (isAnswered && at - askedAt >= CALM_MS) attempts.delete(words)
      const attempt = attempts.get(of) ?? { key: newKey(), askedAt: at, isAnswered: false }
      attempt.askedAt = at
      attempts.set(of, attempt)
      const answer = await ask(attempt.key)
      attempt.isAnswered = true
      return answer
    },
  }
}

/** A page that came by plain http has no `randomUUID`. */
export const newKey = (): string =>
  [...crypto.getRandomValues(new Uint8Array(16))].map(byte => byte.toString(16).padStart(2, '0')).join('')
