/**
 * Explores every interleaving of one job's steps, depth first, visiting each state once. When no step is enabled,
 * everything settles.
 * Invariant: after each branch the state is restored, the store's part by a mark.
 */
import type { Engine } from '../../support/engine.ts'
import { T } from '../../support/store.ts'
import type { ModelOptions } from './model.ts'
import { createStateMachine } from './state-machine.ts'

export type ExplorationOptions = Omit<ModelOptions, 'rows' | 'concurrency' | 'from'>

/** @returns each history of states that the app may see */
export async function exploreStates(
  openRewindable: Engine['openRewindable'],
  options: ExplorationOptions,
): Promise<Set<string>> {
  await using rewindable = await openRewindable()
  const { store } = rewindable
  const machine = await createStateMachine(store, { ...options, rows: 1, concurrency: 1, from: T })
  const visited = new Set<string>()
  const path: string[] = []
  const histories = new Set<string>()

  async function explore(): Promise<void> {
    const { workerSteps, disturbances } = await machine.enabledSteps()
    const next = [...workerSteps, ...disturbances]
    const fingerprint = await machine.fingerprint()
    if (visited.has(fingerprint)) return
    visited.add(fingerprint)
    const restore = machine.snapshot()
    const mark = await rewindable.mark()
    const tryStep = async (label: string, run: () => Promise<void>) => {
      path.push(label)
      await run()
      path.pop()
      await mark.rewind()
      restore()
    }
    for (const step of next)
      await tryStep(step[0], async () => {
        await machine.execute(step)
        await explore()
      })
    if (next.length === 0) {
      await tryStep('settles', async () => {
        for (const history of await machine.settle()) histories.add(history)
      })
    }
    await mark.release()
  }

  try {
    await explore()
  } catch (error) {
    throw new Error(`after ${path.join(' · ')}: ${error}`, { cause: error })
  }
  return histories
}
