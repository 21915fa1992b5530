import { expect, test } from 'vitest'
import { newSeed } from '../../../src/simulator/seeded-random.ts'
import { FUZZ_TARGETS, type FuzzTarget, fuzz } from './fuzz-campaign.ts'
import { openFuzzScenario } from './scenario.ts'

/** `npm run fuzz -- --seed N` throws the same, and more. */
const SHORT = { runs: 10_000, ms: 2000 }

test.each(Object.keys(FUZZ_TARGETS) as FuzzTarget[])(
  'thrown %s, the gateway answers, tells nothing that it should not, and goes on',
  async target => {
    await using arena = await openFuzzScenario()
    expect(await fuzz(arena, target, { seed: newSeed(), ...SHORT })).toBeGreaterThan(12)
  },
)
