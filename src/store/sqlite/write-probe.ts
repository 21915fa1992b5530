/**
 * Finds out what a write would meet, by writing: a read succeeds on a full disk and under another process's lock.
 */
import { performance } from 'node:perf_hooks'
import { setTimeout as delay } from 'node:timers/promises'
import type { DatabaseFault, Store } from '../store.ts'
import type { Db } from './connection.ts'
import { sql } from './drizzle.ts'
import { prepare } from './prepare.ts'
import { findDatabaseFault } from './sqlite-errors.ts'
import type { WriteGate } from './write-gate.ts'

/** About the size of a prediction with its event: a disk that is nearly full is found full before a submit finds it. */
const PROBE_BYTES = 16 * 1024
/** Anyone may ask for the health: a result is used for this time. */
const PROBE_TTL_MS = 1000
/** A lock that another process holds for less does not count. */
const MAX_PROBE_WAIT_MS = 500

export function createWriteProbe(db: Db, gate: WriteGate): Store['ping'] {
  const probe = prepare(
    db,
    sql`insert into meta (name, value) values ('write_probe', @value)
      on conflict (name) do update set value = excluded.value`,
  )
  let writtenAt = Number.NEGATIVE_INFINITY
  let writes = 0
  let pending: Promise<'ok' | DatabaseFault> | null = null

  async function write(): Promise<'ok' | DatabaseFault> {
    for (;;)
      try {
        await gate.run(async () => probe.run({ value: `${++writes} `.padEnd(PROBE_BYTES, '.') }))
        writtenAt = performance.now()
        return 'ok'
      } catch (error) {
        const fault = findDatabaseFault(error)
        if (fault === null) throw error
        if (fault !== 'locked' || !gate.isWorthWaiting(MAX_PROBE_WAIT_MS)) return fault
        await delay(Math.max(1, (gate.state.outage?.retryAt ?? 0) - performance.now()))
      }
  }

  return async () => {
    const isFresh = gate.state.outage === null && performance.now() < writtenAt + PROBE_TTL_MS
    // The read fails on a closed connection.
    if (isFresh && gate.areFilesInPlace() && db.get(sql`select 1`)) return 'ok'
    pending ??= write().finally(() => {
      pending = null
    })
    return pending
  }
}
