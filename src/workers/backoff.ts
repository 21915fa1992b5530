/**
 * A rest after a fault, and a longer one after each next, until something goes well. Faults of one moment are one.
 * In memory: a restart tries once more, no harm.
 */
export interface Rest {
  /** Milliseconds of the epoch; in the past where there is none. */
  readonly until: number
  isOn(): boolean
  /** @param leastMs what was asked for, as far as the longest rest goes */
  begin(leastMs: number): number
  end(): void
}

const FIRST_MS = 2000
const LONGEST_MS = 5 * 60_000

export function createRest(now: () => number): Rest {
  let next = FIRST_MS
  let until = 0
  /** One that ends farther ahead was begun by a clock that was wrong. */
  const isOn = () => now() < until && until - now() <= LONGEST_MS

  return {
    get until() {
      return until
    },
    isOn,
    begin(leastMs) {
      if (isOn()) return until
      until = now() + Math.min(Math.max(next, leastMs), LONGEST_MS)
      next = Math.min(2 * next, LONGEST_MS)
      return until
    },
    end() {
      next = FIRST_MS
      until = 0
    },
  }
}
