/**
 * Walks every interleaving of one job's steps, depth first: each state that is new is gone on from by each step that may be
 * next, and back to it; where nothing more may happen, everything settles.
 * Invariant: it comes back to a state as that was: savepoints, under which the store's own transactions are nested, hold the
 * store's part of it.
 */
import { createApps } from '../../../src/store/sqlite/apps.ts'
import { openDatabase } from '../../../src/store/sqlite/connection.ts'
import { createEvents } from '../../../src/store/sqlite/events.ts'
import { createGroup } from '../../../src/store/sqlite/group-commit.ts'
import { createPredictions } from '../../../src/store/sqlite/predictions/write.ts'
import { createQueue } from '../../../src/store/sqlite/queue/queue.ts'
import { createSharedStatements } from '../../../src/store/sqlite/shared-statements.ts'
import type { Store } from '../../../src/store/store.ts'
import { T } from '../../support/store.ts'
import type { Options } from './model.ts'
import { createWorld } from './world.ts'

export type Walk = Omit<Options, 'rows' | 'concurrency' | 'from'>

/** @returns what the app may be told, from first to last */
export async function walk(options: Walk): Promise<Set<string>> {
  const { db, close } = openDatabase(':memory:', { alone: false })
  const { $client: client } = db
  const ring = () => {}
  const shared = createSharedStatements(db)
  const parts = {
    ...createPredictions(db, createGroup(db, ring), shared),
    ...createQueue(db, ring, shared),
    ...createEvents(db),
  }
  const store = { ...parts, ...createApps(db) } as Store
  const world = await createWorld(store, { ...options, rows: 1, concurrency: 1, from: T })
  const known = new Set<string>()
  const path: string[] = []
  const told = new Set<string>()

  async function goOn(): Promise<void> {
    const { ahead, aside } = await world.steps()
    const next = [...ahead, ...aside]
    const state = await world.state()
    if (known.has(state)) return
    known.add(state)
    const back = world.save()
    const name = `at${path.length}`
    client.exec(`savepoint ${name}`)
    const tried = async (what: string, run: () => Promise<void>) => {
      path.push(what)
      await run()
      path.pop()
      client.exec(`rollback to ${name}`)
      back()
    }
    for (const step of next)
      await tried(step[0], async () => {
        await world.take(step)
        await goOn()
      })
    if (next.length === 0) {
      await tried('settles', async () => {
        for (const one of await world.settle()) told.add(one)
      })
    }
    client.exec(`release ${name}`)
  }

  try {
    await goOn()
  } catch (error) {
    throw new Error(`after ${path.join(' · ')}: ${error}`, { cause: error })
  } finally {
    close()
  }
  return told
}
