/**
 * Who follows a job that was sent, cut into steps: upstream, which runs it and announces its end, and the poller.
 * Invariant: what a look shows is what upstream has at that moment, however late it is written down.
 */

import type { Job, Observation } from '../../../src/domain/prediction.ts'
import { announced, type Look, missed, observed } from '../../../src/domain/transitions.ts'
import { SECOND } from '../../support/store.ts'
import { DAY, DEADLINE, ENDS, type Run, type Step } from './model.ts'
import type { Scene } from './scene.ts'

export function createFollowing(scene: Scene) {
  const { store, rowOf, runOf, jobOf, heard, lease, hand } = scene
  const { bounds, ends } = scene.options

  const upstream = (run: Run): Step[] => {
    const name = `upstream ${run.of.name}`
    if (run.end !== null) {
      if (run.webhooks === bounds.webhooks) return []
      return [[`${name}: webhook`, async () => receive(run)]]
    }
    const become = (change: Partial<Run>) => async () => void Object.assign(run, change)
    const over = ends.map((end): Step => [`${name}: ${end}`, become({ end: ENDS[end] })])
    return run.isProcessing ? over : [...over, [`${name}: processing`, become({ isProcessing: true })]]
  }

  async function receive(run: Run): Promise<void> {
    run.webhooks++
    heard.add(run)
    const id = (await store.ownerOf(run.id)) ?? run.of.id
    hand(`receiver ${run.of.name}`, null, [
      [
        'writes',
        async () => {
          const wasKnown = (await jobOf({ id })).upstreamId !== null
          const changed = await store.change(id, announced(run.id, scene.now), scene.now)
          if (changed !== null && !wasKnown) run.of.isPlaced = true
        },
      ],
    ])
  }

  async function poll(): Promise<void> {
    const [job] = await store.claimPolls(lease())
    if (job === undefined) return
    const { name } = rowOf(job)
    const run = runOf(rowOf(job))
    const looked = (what: string, seen: Observation | null) =>
      hand(`poller ${name} ${what}`, job, [['writes', () => note(job, seen)]])
    const seen = (): Observation => run?.end ?? { status: run?.isProcessing ? 'processing' : 'waiting' }
    hand(`poller ${name}`, job, [
      ['looks', async () => looked(`${seen().status} ${run?.end?.status}`, seen())],
      ['sees nothing', async () => looked('nothing', null)],
    ])
  }

  async function note(job: Job, seen: Observation | null): Promise<void> {
    const row = rowOf(job)
    const look: Look = {
      now: scene.now,
      next: scene.now + (job.following === 'late' ? DAY : 5 * SECOND),
      deadlineMs: DEADLINE,
      graceMs: 0,
    }
    const decide = seen === null ? missed(look, false) : observed(seen, look)
    const foreseen = decide(job)
    if (
      foreseen !== null &&
      Object.keys(foreseen).every(field => field === 'dueAt' || field === 'runningAt')
    ) {
      const { dueAt = look.next, runningAt = job.runningAt } = foreseen
      return store.putOff([{ id: job.id, fence: job.fence, dueAt, runningAt }])
    }
    const before = await jobOf(job)
    if ((await store.change(job.id, decide, scene.now, job.fence)) === null) return
    const isEnd = seen !== null && seen.status !== 'waiting' && seen.status !== 'processing'
    const isEmpty = seen?.status === 'completed' && seen.outputs.length === 0
    const age = scene.now - before.submittedAt!
    if (isEnd) row.isPlaced &&= isEmpty && before.emptySince === null
    else if (age >= (seen === null ? 2 : 1) * DEADLINE) row.isPlaced = false
  }

  return { upstream, poll }
}
