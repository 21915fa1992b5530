/**
 * Seeded random numbers (mulberry32): the same seed gives the same numbers on every machine.
 * Invariant: each user forks its own generator by name, so one user's draws do not shift another's.
 */
export interface SeededRandom {
  /** An integer from `min` to `max`, both included. */
  between(min: number, max: number): number
  chance(probability: number): boolean
  pick<Item>(items: readonly Item[]): Item
  /** An item, with a probability proportional to its weight. Null: all weights are 0. */
  pickWeighted<Item>(entries: readonly (readonly [item: Item, weight: number])[]): Item | null
  fork(name: string): SeededRandom
}

export const newSeed = (): number => Math.floor(Math.random() * 2 ** 32)

export function createSeededRandom(seed: number): SeededRandom {
  let state = seed >>> 0

  /** A number in [0, 1). */
  function next(): number {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }

  return {
    between: (min, max) => min + Math.floor(next() * (max - min + 1)),
    chance: probability => next() < probability,
    pick: items => items[Math.floor(next() * items.length)]!,
    pickWeighted(entries) {
      let left = next() * entries.reduce((sum, [, weight]) => sum + weight, 0)
      for (const [item, weight] of entries) {
        left -= weight
        if (left < 0) return item
      }
      return null
    },
    fork: name => createSeededRandom(hash(name, seed)),
  }
}

/** The FNV-1a hash, started from the seed. */
const hash = (text: string, seed: number): number =>
  [...text].reduce((sum, letter) => Math.imul(sum ^ letter.codePointAt(0)!, 16777619), seed ^ 2166136261)
