/**
 * `npm run app -- queue`, `release ID` and `cancel ID`: jobs that are held by themselves.
 * Invariant: all ids are checked before anything is changed.
 */
import { StartupError } from '../../domain/errors.ts'
import { ALL_JOBS } from '../../domain/hold.ts'
import { canceled } from '../../domain/transitions.ts'
import type { HeldJob, Store } from '../../store/store.ts'
import type { CommandResult } from './command-result.ts'
import { formatUtc, toIso } from './format.ts'

const FINDINGS = {
  operator: 'held by an operator',
  start: 'held by HOLD_SUBMITS',
  restored: 'not yet compared with upstream',
  'restored-absent': 'upstream lists no such job',
  'restored-unsure': 'a job of upstream may be this one',
} as const

export async function describeQueue(store: Store, onlyHeld: boolean): Promise<CommandResult> {
  const heldJobs = await store.heldJobs()
  if (!onlyHeld) {
    const { queued, held } = await store.countByState()
    return {
      text: `${queued} jobs wait. ${held} of them are held, ${heldJobs.length} by themselves ("queue --held").`,
      json: { queued, held, heldByThemselves: heldJobs.length },
    }
  }
  const names = new Map((await store.listApps()).map(({ id, name }) => [id, name]))
  const rows = heldJobs.map(({ job, reason, since }) => ({
    id: job.id,
    app: names.get(job.appId)!,
    createdAt: toIso(job.createdAt),
    reason,
    since: toIso(since),
  }))
  return {
    text:
      heldJobs.length === 0
        ? 'No job is held by itself.'
        : heldJobs
            .map(
              ({ job, reason }, i) =>
                `${job.id}  ${rows[i]!.app}\n  created ${formatUtc(job.createdAt)}, ${FINDINGS[reason]}`,
            )
            .join('\n'),
    json: rows,
  }
}

export async function releaseJobs(store: Store, ids: readonly string[]): Promise<CommandResult> {
  await findHeld(store, ids)
  for (const predictionId of ids) await store.removeHold({ ...ALL_JOBS, predictionId })
  return { text: `Released: ${ids.length} jobs.`, json: { released: ids } }
}

export async function cancelJobs(store: Store, ids: readonly string[], now: number): Promise<CommandResult> {
  for (const { job } of await findHeld(store, ids)) {
    await store.change(job.id, canceled(now), now)
    await store.removeHold({ ...ALL_JOBS, predictionId: job.id })
  }
  return { text: `Canceled: ${ids.length} jobs.`, json: { canceled: ids } }
}

async function findHeld(store: Store, ids: readonly string[]): Promise<HeldJob[]> {
  const held = new Map((await store.heldJobs()).map(each => [each.job.id, each]))
  const missing = ids.find(id => !held.has(id))
  if (missing !== undefined)
    throw new StartupError(
      `"${missing}" is no job that is held by itself: see "queue --held". Nothing was done.`,
    )
  return ids.map(id => held.get(id)!)
}
