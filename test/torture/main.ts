/**
 * `npm run torture`: the long form. `-- --seed N` draws the same chances again, `-- --short` is what `npm test` runs.
 * Exit code 0 if every row says what upstream's ledger says; 1, and what was breached, if not.
 */
import { parseArgs } from 'node:util'
import { newSeed } from '../../src/simulator/random.ts'
import { LONG, SHORT } from './plan.ts'
import { runTorture } from './torture.ts'

const interrupted = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.once(signal, () => interrupted.abort(new Error('interrupted')))

try {
  const { values } = parseArgs({
    options: { seed: { type: 'string' }, short: { type: 'boolean', default: false } },
  })
  const seed = values.seed === undefined ? newSeed() : Number(values.seed)
  if (!Number.isInteger(seed)) throw new Error(`--seed: "${values.seed}" is no whole number`)
  console.log(`torture: seed ${seed}`)
  const listener = { tell: console.log, interrupt: interrupted.signal }
  console.log(await runTorture(values.short ? SHORT : LONG, seed, listener))
} catch (error) {
  console.error((error as Error).message)
  process.exitCode = 1
}
