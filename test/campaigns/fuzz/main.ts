/**
 * `npm run fuzz`: the long form of what `npm test` throws. `-- --seed N` throws the same again, `-- --runs N` so many at each
 * target (5000 unless it is said), `-- --only TEXT` at those whose name has it. Exit code 1, and the least input that was
 * found to go wrong, if one did; a promise that nobody awaited ends it, too.
 */
import { parseArgs } from 'node:util'
import { newSeed } from '../../../src/simulator/seeded-random.ts'
import { FUZZ_TARGETS, type FuzzTarget, fuzz } from './fuzz-campaign.ts'
import { openFuzzScenario } from './scenario.ts'

const { values } = parseArgs({
  options: { seed: { type: 'string' }, runs: { type: 'string' }, only: { type: 'string', default: '' } },
})
const [seed, runs] = [values.seed ?? newSeed(), values.runs ?? 5000].map(Number) as [number, number]

console.log(`fuzz: seed ${seed}`)
try {
  for (const target of Object.keys(FUZZ_TARGETS) as FuzzTarget[]) {
    if (!target.toLowerCase().includes(values.only.toLowerCase())) continue
    await using scenario = await openFuzzScenario()
    const startedAt = Date.now()
    const inputCount = await fuzz(scenario, target, { seed, runs, ms: Number.POSITIVE_INFINITY })
    console.log(`${target}: ${inputCount} thrown · ${((Date.now() - startedAt) / 1000).toFixed(1)} s`)
  }
} catch (error) {
  console.error((error as Error).message)
  process.exitCode = 1
}
