/**
 * How often an address and a key may ask in a minute, and how often an address may guess.
 * Invariant: however many addresses come, a bounded number is remembered; beyond it those of one large network count as
 * one.
 */
import { createRequire } from 'node:module'
import { setTimeout } from 'node:timers/promises'
import type { RateLimiterMemory as Limiter, RateLimiterRes } from 'rate-limiter-flexible'
import type { Caller, WrongKeys } from '../../auth/authenticate.ts'
import { networkOf } from './client-network.ts'

const require = createRequire(import.meta.url)
// Its index loads a client for every store there is: 3 MB and 20 ms.
const RateLimiterMemory: typeof Limiter = require('rate-limiter-flexible/lib/RateLimiterMemory.js')

/** Each takes one, and answers with null or with the time to wait, ms. */
export interface Rates {
  ofAddress(address: string): Promise<number | null>
  /** Of a key, with all the tokens that it has minted, which may have a tenth of it each. */
  ofCaller(caller: Pick<Caller, 'key' | 'grant' | 'hash'>): Promise<number | null>
  /** Of an app; each of its tokens may have a tenth of it, and in its life four for each submit it may have. */
  ofUpload(caller: Pick<Caller, 'scope' | 'grant' | 'hash'>): Promise<number | null>
  wrongKeys: WrongKeys
}

export interface RatesOptions {
  perAddress: number
  perKey: number
  wrongKeys: number
  /** Of an app. */
  uploads: number
  /** Somebody has. */
  guessed?: () => void
  slowMs?: number
  mostNetworks?: number
}

const MINUTE = 60
const DAY = 24 * 60 * MINUTE
/** Images that a token may upload for each submit it may have: it must not fill what its app may keep. */
const TRIES = 4
const LIFE_POINTS = 1_000_000
/** At most twice as many are remembered. A million addresses in one minute left 23 MB (measured). */
const MOST_NETWORKS = 50_000
/** An address that guesses waits so long for each answer; somebody with a good key may share it. */
const SLOW_MS = 1000
/** So many at once. */
const MOST_SLOWED = 100

export function createRates(options: RatesOptions): Rates {
  const {
    perAddress,
    perKey,
    wrongKeys,
    uploads,
    mostNetworks,
    slowMs = SLOW_MS,
    guessed = () => {},
  } = options
  const limiter = (points: number) => new RateLimiterMemory({ points, duration: MINUTE })
  const [addresses, keys, guesses] = [limiter(perAddress), limiter(perKey), limiter(wrongKeys)]
  const tokens = limiter(Math.ceil(perKey / 10))
  const [appUploads, tokenUploads] = [limiter(uploads), limiter(Math.ceil(uploads / 10))]
  const tokenLives = new RateLimiterMemory({ points: LIFE_POINTS, duration: DAY })
  const nameOf = createNames(mostNetworks ?? MOST_NETWORKS)
  const slowed = new Map<string, number>()

  return {
    ofAddress: address => take(addresses, nameOf(address)),
    ofCaller: async ({ key, grant, hash }) =>
      (grant === null ? null : await take(tokens, hash)) ?? take(keys, key),
    async ofUpload({ scope, grant, hash }) {
      if (grant === null) return take(appUploads, scope.appId)
      const price = Math.ceil(LIFE_POINTS / (TRIES * Math.max(grant.maxSubmits, 1)))
      return (
        (await take(tokenLives, hash, price)) ??
        (await take(tokenUploads, hash)) ??
        take(appUploads, scope.appId)
      )
    },
    wrongKeys: {
      async slow(address) {
        const name = nameOf(address)
        const spent = await guesses.get(name)
        if (spent === null || spent.consumedPoints < wrongKeys) return null
        const count = slowed.get(name) ?? 0
        if (count >= MOST_SLOWED) return waitOf(spent)
        slowed.set(name, count + 1)
        await setTimeout(slowMs, undefined, { ref: false })
        const left = slowed.get(name)! - 1
        if (left > 0) slowed.set(name, left)
        else slowed.delete(name)
        return null
      },
      note(address) {
        guessed()
        void guesses.penalty(nameOf(address))
      },
    },
  }
}

const take = (limiter: Limiter, name: string, points = 1): Promise<number | null> =>
  limiter.consume(name, points).then(() => null, waitOf)

/** It may have passed meanwhile. */
const waitOf = ({ msBeforeNext }: RateLimiterRes): number => Math.max(1, msBeforeNext)

/** The limiter forgets a name after a minute: so it has those of two of these minutes at most. */
function createNames(most: number): (address: string) => string {
  let names = new Set<string>()
  let until = 0

  return address => {
    const name = networkOf(address)
    if (Date.now() >= until) {
      names = new Set()
      until = Date.now() + MINUTE * 1000
    }
    if (names.size >= most && !names.has(name)) return `${/^[\da-f]*/.exec(name)} and its neighbours`
    names.add(name)
    return name
  }
}
