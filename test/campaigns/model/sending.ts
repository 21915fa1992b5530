/**
 * Who brings a job to upstream, cut into steps: the inspector of its image, and the submitter.
 * Invariant: a job that was canceled before its POST is never sent, and none is sent twice.
 */
import { expect } from 'vitest'
import type { Decide, Job, SubmitOutcome } from '../../../src/domain/prediction.ts'
import {
  announced,
  answered,
  imageMissed,
  imageRefused,
  imageSeen,
  imageUntried,
} from '../../../src/domain/transitions.ts'
import { searchWindow } from '../../../src/workers/reconcile-schedule.ts'
import { SECOND } from '../../support/store.ts'
import { type Answer, IMAGE_FRESH, isRefused, type Run, type Step, SUBMIT_TIMEOUT } from './model.ts'
import type { Scene } from './scene.ts'

export function createSending(scene: Scene) {
  const { store, rowOf, runs, heard, lease, hand, placed, countPlaces } = scene
  const { concurrency, answers } = scene.options

  async function inspect(): Promise<void> {
    const [job] = await store.claimImages({ ...lease(), imagesSince: scene.now - IMAGE_FRESH, stock: 100 })
    if (job === undefined) return
    const write = (decide: Decide) => async () =>
      void (await store.change(job.id, decide, scene.now, job.fence))
    hand(`inspector ${rowOf(job).name}`, job, [
      ['an image', () => write(imageSeen(scene.now))()],
      ['no image', () => write(imageRefused(scene.now))()],
      ['unreachable', () => write(imageMissed(scene.now, scene.now + 2 * SECOND))()],
      ['offline', () => write(imageUntried(scene.now + 30 * SECOND))()],
    ])
  }

  async function submit(): Promise<void> {
    await countPlaces()
    const claim = { ...lease(), limit: 2, concurrency, perMinute: null, imagesSince: scene.now - IMAGE_FRESH }
    for (const job of await store.claimSubmits(claim)) {
      const row = rowOf(job)
      row.claims++
      row.isPlaced = true
      const post = (answer: Answer): Step => [answer, async () => send(job, answer)]
      hand(`submitter ${row.name}`, job, answers.map(post))
    }
    expect(placed()).toBeLessThanOrEqual(concurrency ?? Infinity)
  }

  function send(job: Job, wanted: Answer): void {
    const row = rowOf(job)
    // The connection of whoever slept so long is gone.
    const answer = scene.now > job.begunAt! + SUBMIT_TIMEOUT ? 'vanished' : wanted
    expect(row.canceled, 'a job is sent that is never to be').not.toBe('free')
    expect(
      row.sent.filter(sent => !isRefused(sent)),
      'a job is sent twice',
    ).toEqual([])
    row.sent.push(answer)
    const isTaken = answer === 'accepted' || answer === 'lost'
    const run: Run = {
      id: `up-${row.id}`,
      of: row,
      at: scene.now,
      isProcessing: false,
      end: null,
      webhooks: 0,
    }
    if (isTaken) runs.push(run)
    hand(`submitter ${row.name} ${answer}`, job, [['writes', () => keep(job, answer, run)]])
  }

  async function keep(job: Job, answer: Answer, run: Run): Promise<void> {
    const row = rowOf(job)
    const outcome: SubmitOutcome =
      answer === 'accepted'
        ? { kind: answer, upstreamId: run.id }
        : answer === 'throttled'
          ? { kind: answer, retryAfterMs: null }
          : answer === 'lost' || answer === 'vanished'
            ? { kind: 'unknown' }
            : { kind: answer }
    const next =
      answer === 'accepted' ? scene.now + 5 * SECOND : searchWindow(job.begunAt!, SUBMIT_TIMEOUT).to
    const changed = await store.change(job.id, answered(outcome, scene.now, next), scene.now, job.fence)
    if (changed === null) return
    row.isPlaced = ['accepted', 'lost', 'vanished'].includes(answer)
    if (isRefused(answer) || answer === 'rejected') row.refusals++
    if (answer === 'accepted' && heard.has(run))
      await store.change(job.id, announced(run.id, scene.now), scene.now)
  }

  return { inspect, submit }
}
