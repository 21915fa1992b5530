import { expect, test } from 'vitest'
import { newSeed } from '../../../src/simulator/seeded-random.ts'
import { FUZZ_TARGETS, type FuzzTarget, fuzz } from './fuzz-campaign.ts'
import { openFuzzScenario } from './scenario.ts'

/** `npm run fuzz -- --seed N` repeats a failed run, with more inputs. */
const SHORT = { runs: 10_000, ms: 2000 }

test.each(Object.keys(FUZZ_TARGETS) as FuzzTarget[])(
  'given %s, the gateway answers, leaks nothing, and continues',
  async target => {
    await using scenario = await openFuzzScenario()
    expect(await fuzz(scenario, target, { seed: newSeed(), ...SHORT })).toBeGreaterThan(12)
  },
)
