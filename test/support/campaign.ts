/**
 * What a campaign against a whole gateway is: so much of it, drawn from a seed, as a command and as a test.
 * Invariant: whatever is thrown names the seed that draws the same chances again.
 */
import { parseArgs } from 'node:util'
import { createRandom, newSeed, type Random } from '../../src/simulator/seeded-random.ts'

export interface Listener {
  /** Is given a line after each restart. */
  tell?: (line: string) => void
  /** Ends the run early, as a failed one. */
  interrupt?: AbortSignal
}

export interface Orders<Plan> extends Required<Listener> {
  plan: Plan
  random: Random
}

interface Outcome {
  summary: string
  /** What was breached. */
  found: readonly string[]
}

/**
 * Answers with a line that sums it up.
 * @throws what was breached, and the seed
 */
export type Campaign<Plan> = (plan: Plan, seed: number, listener?: Listener) => Promise<string>

/** Of many breaches the first tell enough. */
const TOLD = 8

export function campaign<Plan>(
  name: string,
  fight: (orders: Orders<Plan>) => Promise<Outcome>,
): Campaign<Plan> {
  return async (plan, seed, { tell = () => {}, interrupt = new AbortController().signal } = {}) => {
    const began = Date.now()
    const seconds = () => `${((Date.now() - began) / 1000).toFixed(1)} s`
    const told = (line: string) => tell(`${seconds()}: ${line}`)
    try {
      const { summary, found } = await fight({ plan, random: createRandom(seed), tell: told, interrupt })
      const sum = `${summary} · ${seconds()}`
      if (found.length > 0)
        throw new Error([sum, `${found.length} breaches`, ...found.slice(0, TOLD)].join('\n  '))
      return `seed ${seed} · ${sum}`
    } catch (error) {
      throw new Error(`${name}, seed ${seed}: ${(error as Error).message}`, { cause: error })
    }
  }
}

/** `npm run <name>`: the long form, or with `-- --short` the short one. */
export async function command<Plan>(
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
    if (!Number.isInteger(seed)) throw new Error(`--seed: "${values.seed}" is no whole number`)
    console.log(`${name}: seed ${seed}`)
    const listener = { tell: console.log, interrupt: interrupted.signal }
    console.log(await run(values.short ? plans.short : plans.long, seed, listener))
  } catch (error) {
    console.error((error as Error).message)
    process.exitCode = 1
  }
}
