/**
 * `npm run fuzz`: the long form of the fuzz test. `-- --seed N` repeats a run, `-- --runs N` sets inputs per target
 * (default 5000), `-- --only TEXT` selects targets whose name contains the text.
 * Exit code 1 and the smallest failing input on a fault. An unhandled rejection ends the process too.
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
    console.log(`${target}: ${inputCount} inputs · ${((Date.now() - startedAt) / 1000).toFixed(1)} s`)
  }
} catch (error) {
  console.error((error as Error).message)
  process.exitCode = 1
}
