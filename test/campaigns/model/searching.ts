/**
 * Who takes over what another left, cut into steps: the reconciler, which looks for a POST without an answer, and the probe
 * that ends a pause.
 * Invariant: between any two questions to the store another may change what the first one answered.
 */

import type { Job } from '../../../src/domain/prediction.ts'
import { abandoned, accepted, unfound } from '../../../src/domain/transitions.ts'
import { searchWindow } from '../../../src/workers/reconcile-schedule.ts'
import { HOUR, MINUTE, SECOND } from '../../support/store.ts'
import { DAY, type Run, SUBMIT_TIMEOUT } from './model.ts'
import type { Scene } from './scene.ts'

const PATIENCE = 10 * MINUTE

export function createSearching(scene: Scene) {
  const { store, rowOf, runs, hands, lease, hand } = scene

  async function reconcile(): Promise<void> {
    const inHand = [...hands].filter(({ isAlive, name }) => isAlive && name.startsWith('submitter'))
    const except = inHand.map(({ job }) => job!.id)
    const [left] = await store.claimAbandoned({ now: scene.now, leaseUntil: scene.now, limit: 1, except })
    if (left !== undefined) {
      const row = rowOf(left)
      const to = searchWindow(left.begunAt!, SUBMIT_TIMEOUT).to
      const take = async () => {
        await store.change(left.id, abandoned(scene.now, to), scene.now, left.fence)
      }
      return hand(`reconciler ${row.name} left`, left, [['takes over', take]])
    }
    const [job] = await store.claimSought(lease())
    if (job !== undefined) search(job)
  }

  /** As the reconciler does it: the list, then the rivals, then the owners. */
  function search(job: Job): void {
    const { name } = rowOf(job)
    const { from, to, width } = searchWindow(job.begunAt!, SUBMIT_TIMEOUT)
    /** @param found null where the list could not be read */
    const settled = (what: string, found: Run[] | null, isAlone = true) =>
      hand(`reconciler ${name} ${what}`, job, [['writes', () => conclude(job, found, isAlone)]])
    const list = async () => {
      if (scene.now < to) return settled('too early', null)
      const listed = runs.filter(run => run.at >= from && run.at <= to)
      const rivals = async () => {
        const isAlone = !(await store.hasRival(job, job.begunAt! - width, job.begunAt! + width))
        settled(`${isAlone ? 'alone' : 'not alone'} ${listed.length}`, listed, isAlone)
      }
      hand(`reconciler ${name} listed ${listed.length}`, job, [['asks for rivals', rivals]])
    }
    hand(`reconciler ${name}`, job, [
      ['lists', list],
      ['sees nothing', async () => settled('nothing', null)],
    ])
  }

  async function conclude(job: Job, listed: Run[] | null, isAlone: boolean): Promise<void> {
    const unowned: Run[] = []
    for (const run of listed ?? []) if ((await store.ownerOf(run.id)) === null) unowned.push(run)
    const [only, another] = unowned
    if (only !== undefined && another === undefined && isAlone) {
      const changed = await store.change(job.id, accepted(only.id, scene.now), scene.now, job.fence)
      if (changed !== null) rowOf(job).isPlaced = true
      return
    }
    const { to } = searchWindow(job.begunAt!, SUBMIT_TIMEOUT)
    const next = scene.now < to ? to : scene.now + (scene.now < to + HOUR ? 5 * MINUTE : DAY)
    const isAbsent = listed !== null && only === undefined
    const decide = unfound({ now: scene.now, next, patienceMs: PATIENCE }, isAbsent)
    const changed = await store.change(job.id, decide, scene.now, job.fence)
    if (changed !== null && (isAbsent || scene.now - job.begunAt! >= PATIENCE)) rowOf(job).isPlaced = false
  }

  async function probe(): Promise<void> {
    const pause = await store.claimProbe(scene.now, () => scene.now + SECOND)
    if (pause !== null) hand('probe', null, [['reads', async () => void (await store.resume(pause.version))]])
  }

  return { reconcile, probe }
}
