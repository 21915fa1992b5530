/**
 * One run of chaos: clients of the feed, jobs, a network that breaks and a gateway that is killed; then calm, and each
 * client must have been told exactly what the log says.
 * Invariant: every decision is drawn from the seed, and every breach is thrown with it.
 */

import { createRandom } from '../../src/simulator/random.ts'
import { calm } from './calm.ts'
import { breaches, sumUp, wrongs } from './findings.ts'
import type { Plan } from './plan.ts'
import { rage } from './rage.ts'
import { createStage } from './stage.ts'

export interface Listener {
  /** Is given a line after each restart. */
  tell?: (line: string) => void
  /** Ends the run early, as a failed one. */
  interrupt?: AbortSignal
}

/** Of many breaches the first tell enough. */
const TOLD = 5

/**
 * Answers with a line that sums it up.
 * @throws what was breached: which client, where in its sequence, and the seed
 */
export async function runChaos(plan: Plan, seed: number, listener: Listener = {}): Promise<string> {
  const { tell = () => {}, interrupt = new AbortController().signal } = listener
  const began = Date.now()
  const seconds = () => `${((Date.now() - began) / 1000).toFixed(1)} s`
  const random = createRandom(seed)
  try {
    await using stage = await createStage(plan, random)
    const told = (line: string) => tell(`${seconds()}: ${line}`)
    const done = await rage(stage, plan, random, told, interrupt).catch(error => {
      // A gateway that is gone answers nobody: that it went comes first.
      throw new Error([...wrongs(stage), error.message].join('\n  '), { cause: error })
    })
    interrupt.throwIfAborted()
    if (wrongs(stage).length === 0) await calm(stage)
    const summary = `${sumUp(stage, done)} · ${seconds()}`
    const found = breaches(stage, plan, done)
    if (found.length > 0) throw new Error([summary, ...found.slice(0, TOLD)].join('\n  '))
    return `seed ${seed} · ${summary}`
  } catch (error) {
    throw new Error(`chaos, seed ${seed}: ${(error as Error).message}`, { cause: error })
  }
}
