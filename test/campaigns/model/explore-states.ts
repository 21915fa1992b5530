/**
 * Explores every interleaving of one job's steps, depth first, visiting each state once. When no step is enabled,
 * everything settles.
 * Invariant: after each branch the state is restored. Savepoints restore the store's part; the store's own
 * transactions are nested in them.
 */
import { createAppStore } from '../../../src/store/sqlite/apps.ts'
import { openDatabase } from '../../../src/store/sqlite/connection.ts'
import { createEventStore } from '../../../src/store/sqlite/events.ts'
import { createGroupCommit } from '../../../src/store/sqlite/group-commit.ts'
import { createPredictionStore } from '../../../src/store/sqlite/predictions/write.ts'
import { createQueueStore } from '../../../src/store/sqlite/queue/queue.ts'
import { createSharedParts } from '../../../src/store/sqlite/shared-parts.ts'
import type { Store } from '../../../src/store/store.ts'
import { T } from '../../support/store.ts'
import type { ModelOptions } from './model.ts'
import { createStateMachine } from './state-machine.ts'

export type ExplorationOptions = Omit<ModelOptions, 'rows' | 'concurrency' | 'from'>

/** @returns each history of states that the app may see */
export async function exploreStates(options: ExplorationOptions): Promise<Set<string>> {
  const { db, close } = openDatabase(':memory:', { exclusive: false })
  const { $client: client } = db
  const notify = () => {}
  const shared = createSharedParts(db)
  const parts = {
    ...createPredictionStore(db, createGroupCommit(db, notify), shared),
    ...createQueueStore(db, notify, shared),
    ...createEventStore(db, shared),
  }
  const store = { ...parts, ...createAppStore(db) } as Store
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
    const savepoint = `at${path.length}`
    client.exec(`savepoint ${savepoint}`)
    const tryStep = async (label: string, run: () => Promise<void>) => {
      path.push(label)
      await run()
      path.pop()
      client.exec(`rollback to ${savepoint}`)
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
    client.exec(`release ${savepoint}`)
  }

  try {
    await explore()
  } catch (error) {
    throw new Error(`after ${path.join(' · ')}: ${error}`, { cause: error })
  } finally {
    close()
  }
  return histories
}
