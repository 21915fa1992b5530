/**
 * Budget of the memory that live subscriptions hold: for each token, for each app, and for the process.
 * Invariant: a subscription is charged from its start to its end. The bytes are estimates that are rather too high.
 */
export interface SubscriptionBudget {
  /** Returns whose budget is too small for this charge; null if it fits into all three. */
  findExceeded(charge: SubscriptionCharge): ExceededBudget | null
  add(charge: SubscriptionCharge): void
  remove(charge: SubscriptionCharge): void
}

export interface SubscriptionCharge {
  readonly appId: string
  /** Null: the subscription was started with a key. */
  readonly tokenId: string | null
  readonly bytes: number
}

export interface ExceededBudget {
  owner: 'token' | 'app' | 'gateway'
  maxBytes: number
}

export interface SubscriptionBudgetOptions {
  maxConnectionsPerApp: number
  maxConnections: number
}

/** Some 500 subscriptions of common size. A browser has less than a hundred. */
const MAX_BYTES_PER_TOKEN = 4 * 1024 * 1024
/** For an app with few connections. */
const MIN_BYTES_PER_APP = 32 * 1024 * 1024
const MIN_BYTES_IN_TOTAL = 64 * 1024 * 1024
/** Two subscriptions of common size for each connection that is allowed. */
const BYTES_PER_CONNECTION = 12 * 1024

export function createSubscriptionBudget(options: SubscriptionBudgetOptions): SubscriptionBudget {
  const maxBytesPerApp = Math.max(MIN_BYTES_PER_APP, options.maxConnectionsPerApp * BYTES_PER_CONNECTION)
  const maxBytesInTotal = Math.max(MIN_BYTES_IN_TOTAL, options.maxConnections * BYTES_PER_CONNECTION)
  const byToken = new Map<string, number>()
  const byApp = new Map<string, number>()
  let total = 0

  function change({ appId, tokenId, bytes }: SubscriptionCharge, sign: 1 | -1): void {
    total += sign * bytes
    changeCount(byApp, appId, sign * bytes)
    if (tokenId !== null) changeCount(byToken, tokenId, sign * bytes)
  }

  return {
    findExceeded({ appId, tokenId, bytes }) {
      if (tokenId !== null && (byToken.get(tokenId) ?? 0) + bytes > MAX_BYTES_PER_TOKEN)
        return { owner: 'token', maxBytes: MAX_BYTES_PER_TOKEN }
      if ((byApp.get(appId) ?? 0) + bytes > maxBytesPerApp) return { owner: 'app', maxBytes: maxBytesPerApp }
      return total + bytes > maxBytesInTotal ? { owner: 'gateway', maxBytes: maxBytesInTotal } : null
    },
    add: charge => change(charge, 1),
    remove: charge => change(charge, -1),
  }
}

function changeCount(counts: Map<string, number>, owner: string, delta: number): void {
  const count = (counts.get(owner) ?? 0) + delta
  if (count > 0) counts.set(owner, count)
  else counts.delete(owner)
}
