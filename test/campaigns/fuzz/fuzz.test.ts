import { expect, test } from 'vitest'
import { newSeed } from '../../../src/simulator/seeded-random.ts'
import { openArena } from './arena.ts'
import { FUZZ, fuzz, type Target } from './fuzz.ts'

/** `npm run fuzz -- --seed N` throws the same, and more. */
const SHORT = { runs: 10_000, ms: 2000 }

test.each(Object.keys(FUZZ) as Target[])(
  'thrown %s, the gateway answers, tells nothing that it should not, and goes on',
  async target => {
    await using arena = await openArena()
    expect(await fuzz(arena, target, { seed: newSeed(), ...SHORT })).toBeGreaterThan(12)
  },
)
