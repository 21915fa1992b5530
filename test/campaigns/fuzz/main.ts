/**
 * `npm run fuzz`: the long form of the fuzz test and of the attacks. `-- --seed N` repeats a run, `-- --runs N` sets inputs
 * per target (default 5000), `-- --attacks N` sets draws per attack (default 5), `-- --only TEXT` selects targets and
 * attacks whose name contains the text.
 * Exit code 1 and the smallest failing input on a fault, or each breach of an attack. An unhandled rejection ends the process too.
 */
import { parseArgs } from 'node:util'
import { newSeed } from '../../../src/simulator/seeded-random.ts'
import { attackGateway } from './attack-campaign.ts'
import { ATTACKS, type AttackName } from './attacks.ts'
import { FUZZ_TARGETS, type FuzzTarget, fuzz } from './fuzz-campaign.ts'
import { openFuzzScenario } from './scenario.ts'

const { values } = parseArgs({
  options: {
    seed: { type: 'string' },
    runs: { type: 'string' },
    attacks: { type: 'string' },
    only: { type: 'string', default: '' },
  },
})
const seed = Number(values.seed ?? newSeed())
const runs = Number(values.runs ?? 5000)
const draws = Number(values.attacks ?? 5)
const isSelected = (name: string) => name.toLowerCase().includes(values.only.toLowerCase())
/** What must hold on a machine that does nothing else. */
const ATTACK_LIMITS = { attackMs: 8000, maxP99Ms: 100, maxGrowthBytes: 100_000_000 }

console.log(`fuzz: seed ${seed}`)
try {
  for (const target of Object.keys(FUZZ_TARGETS) as FuzzTarget[]) {
    if (!isSelected(target)) continue
    await using scenario = await openFuzzScenario()
    const startedAt = Date.now()
    const inputCount = await fuzz(scenario, target, { seed, runs, ms: Number.POSITIVE_INFINITY })
    console.log(`${target}: ${inputCount} inputs · ${((Date.now() - startedAt) / 1000).toFixed(1)} s`)
  }
  for (const name of Object.keys(ATTACKS) as AttackName[]) {
    if (!isSelected(name)) continue
    for (let attackSeed = seed; attackSeed < seed + draws; attackSeed++) {
      const { summary, breaches } = await attackGateway(name, attackSeed, ATTACK_LIMITS)
      console.log(`${name}, seed ${attackSeed}: ${summary}`)
      for (const breach of breaches) console.error(`  ${breach}`)
      if (breaches.length > 0) process.exitCode = 1
    }
  }
} catch (error) {
  console.error((error as Error).message)
  process.exitCode = 1
}
