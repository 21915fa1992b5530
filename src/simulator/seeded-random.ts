/**
 * Chance out of a seed (mulberry32): the same seed draws the same numbers, on every machine.
 * Invariant: who draws has a source of its own, forked by name, so one drawer's haste does not shift another's numbers.
 */
export interface SeededRandom {
  /** A whole number, both ends included. */
  between(min: number, max: number): number
  chance(probability: number): boolean
  pick<Item>(items: readonly Item[]): Item
  /** An entry by its weight; null if all weigh nothing. */
  pickWeighted<Item>(entries: readonly (readonly [item: Item, weight: number])[]): Item | null
  fork(name: string): SeededRandom
}

export const newSeed = (): number => Math.floor(Math.random() * 2 ** 32)

export function createSeededRandom(seed: number): SeededRandom {
  let state = seed >>> 0

  /** In [0, 1). */
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

/** FNV-1a. */
const hash = (text: string, seed: number): number =>
  [...text].reduce((sum, letter) => Math.imul(sum ^ letter.codePointAt(0)!, 16777619), seed ^ 2166136261)
