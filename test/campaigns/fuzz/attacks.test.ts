import { expect, test } from 'vitest'
import { newSeed } from '../../../src/simulator/seeded-random.ts'
import { attackGateway } from './attack-campaign.ts'
import type { AttackName } from './attacks.ts'

/** `npm run fuzz` has the strict limits. Here other tests run at the same time, so these are ten times as loose. */
const LOOSE = { attackMs: 1500, maxP99Ms: 1000, maxGrowthBytes: 300_000_000 }
const ATTACKS_OF_THE_SUITE: AttackName[] = ['files without a key', 'an image host']

test.each(ATTACKS_OF_THE_SUITE)(
  'under an attack with %s another app is answered, and the memory stays',
  async name => {
    const seed = newSeed()
    const { breaches } = await attackGateway(name, seed, LOOSE)
    expect(breaches, `npm run fuzz -- --only "${name}" --seed ${seed}`).toEqual([])
  },
  60_000,
)
