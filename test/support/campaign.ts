/**
 * A campaign against a whole gateway, drawn from a seed: as a command and as a test.
 * Invariant: every error names the seed, which draws the same again.
 */
import { parseArgs } from 'node:util'
import { createSeededRandom, newSeed, type SeededRandom } from '../../src/simulator/seeded-random.ts'

export interface CampaignOptions {
  /** Receives a line after each restart. */
  report?: (line: string) => void
  /** Ends the run early, as a failed run. */
  interrupt?: AbortSignal
}

export interface CampaignRun<Plan> extends Required<CampaignOptions> {
  plan: Plan
  random: SeededRandom
}

interface CampaignOutcome {
  summary: string
  /** Each breach as a line of text. */
  breaches: readonly string[]
}

/**
 * Returns a summary of one line.
 * @throws the breaches and the seed
 */
export type Campaign<Plan> = (plan: Plan, seed: number, options?: CampaignOptions) => Promise<string>

/** The first few breaches are enough. */
const MAX_SHOWN_BREACHES = 8

export function createCampaign<Plan>(
  name: string,
  run: (options: CampaignRun<Plan>) => Promise<CampaignOutcome>,
): Campaign<Plan> {
  return async (plan, seed, { report = () => {}, interrupt = new AbortController().signal } = {}) => {
    const startedAt = Date.now()
    const elapsed = () => `${((Date.now() - startedAt) / 1000).toFixed(1)} s`
    const reportLine = (line: string) => report(`${elapsed()}: ${line}`)
    try {
      const { summary, breaches } = await run({
        plan,
        random: createSeededRandom(seed),
        report: reportLine,
        interrupt,
      })
      const result = `${summary} · ${elapsed()}`
      if (breaches.length > 0)
        throw new Error(
          [result, `${breaches.length} breaches`, ...breaches.slice(0, MAX_SHOWN_BREACHES)].join('\n  '),
        )
      return `seed ${seed} · ${result}`
    } catch (error) {
      throw new Error(`${name}, seed ${seed}: ${(error as Error).message}`, { cause: error })
    }
  }
}

/** `npm run <name>`: the long form, or the short form with `-- --short`. */
export async function runCampaignCommand<Plan>(
  name: string,
  run: Campaign<Plan>,
  plans: Record<'long' | 'short', Plan>,
): Promise<void> {
  const interrupted = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    process.once(signal, () => interrupted.abort(new Error('interrupted')))
  try {
    const { values } = parseArgs({
      options: { seed: { type: 'string' }, short: { type: 'boolean', default: false } },
    })
    const seed = values.seed === undefined ? newSeed() : Number(values.seed)
    if (!Number.isInteger(seed)) throw new Error(`--seed: "${values.seed}" is not a whole number`)
    console.log(`${name}: seed ${seed}`)
    const options = { report: console.log, interrupt: interrupted.signal }
    console.log(await run(values.short ? plans.short : plans.long, seed, options))
  } catch (error) {
    console.error((error as Error).message)
    process.exitCode = 1
  }
}
