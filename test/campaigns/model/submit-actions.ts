/**
 * Steps of submitting: the image checker and the submitter.
 * Invariant: a job that was canceled before its POST is never sent, and no job is sent twice.
 */
import { expect } from 'vitest'
import type { Job, SubmitOutcome, Transition } from '../../../src/domain/prediction.ts'
import {
  imageCheckFailed,
  imageCheckPostponed,
  imageRejected,
  imageVerified,
  submitAnswered,
  webhookReceived,
} from '../../../src/domain/transitions.ts'
import { searchWindow } from '../../../src/workers/reconcile-schedule.ts'
import { SECOND } from '../../support/store.ts'
import {
  IMAGE_FRESH_MS,
  isRefusedAnswer,
  type Step,
  SUBMIT_TIMEOUT_MS,
  type SubmitAnswer,
  type UpstreamJob,
} from './model.ts'
import type { ModelState } from './model-state.ts'

export function createSubmitActions(state: ModelState) {
  const { store, rowOf, upstreamJobs, receivedWebhooks, lease, addTask, occupiedSlots, assertSlotCount } =
    state
  const { concurrency, answers } = state.options

  async function checkImage(): Promise<void> {
    const [job] = await store.claimImageChecks({
      ...lease(),
      imageVerifiedAfter: state.now - IMAGE_FRESH_MS,
      readyTarget: 100,
    })
    if (job === undefined) return
    const write = (transition: Transition) => async () =>
      void (await store.change(job.id, transition, state.now, job.fence))
    addTask(`image checker ${rowOf(job).name}`, job, [
      ['an image', () => write(imageVerified(state.now))()],
      ['no image', () => write(imageRejected(state.now))()],
      ['unreachable', () => write(imageCheckFailed(state.now, state.now + 2 * SECOND))()],
      ['offline', () => write(imageCheckPostponed(state.now + 30 * SECOND))()],
    ])
  }

  async function submit(): Promise<void> {
    await assertSlotCount()
    const claim = {
      ...lease(),
      limit: 2,
      upstreamConcurrency: concurrency,
      upstreamSubmitsPerMinute: null,
      imageVerifiedAfter: state.now - IMAGE_FRESH_MS,
    }
    for (const job of await store.claimSubmits(claim)) {
      const row = rowOf(job)
      row.claims++
      row.occupiesSlot = true
      const post = (answer: SubmitAnswer): Step => [answer, async () => send(job, answer)]
      addTask(`submitter ${row.name}`, job, answers.map(post))
    }
    expect(occupiedSlots()).toBeLessThanOrEqual(concurrency ?? Infinity)
  }

  function send(job: Job, plannedAnswer: SubmitAnswer): void {
    const row = rowOf(job)
    // The connection of a process that slept that long is gone.
    const answer = state.now > job.submitStartedAt! + SUBMIT_TIMEOUT_MS ? 'vanished' : plannedAnswer
    expect(row.canceled, 'a canceled job is sent').not.toBe('free')
    expect(
      row.postAnswers.filter(earlierAnswer => !isRefusedAnswer(earlierAnswer)),
      'a job is sent twice',
    ).toEqual([])
    row.postAnswers.push(answer)
    const isAcceptedUpstream = answer === 'accepted' || answer === 'lost'
    const upstreamJob: UpstreamJob = {
      id: `up-${row.id}`,
      row,
      submittedAt: state.now,
      isProcessing: false,
      outcome: null,
      webhooksSent: 0,
    }
    if (isAcceptedUpstream) upstreamJobs.push(upstreamJob)
    addTask(`submitter ${row.name} ${answer}`, job, [['writes', () => writeAnswer(job, answer, upstreamJob)]])
  }

  async function writeAnswer(job: Job, answer: SubmitAnswer, upstreamJob: UpstreamJob): Promise<void> {
    const row = rowOf(job)
    const outcome: SubmitOutcome =
      answer === 'accepted'
        ? { kind: answer, upstreamId: upstreamJob.id }
        : answer === 'throttled'
          ? { kind: answer, retryAfterMs: null }
          : answer === 'lost' || answer === 'vanished'
            ? { kind: 'unknown' }
            : { kind: answer }
    const next =
      answer === 'accepted'
        ? state.now + 5 * SECOND
        : searchWindow(job.submitStartedAt!, SUBMIT_TIMEOUT_MS).to
    const changed = await store.change(job.id, submitAnswered(outcome, state.now, next), state.now, job.fence)
    if (changed === null) return
    row.occupiesSlot = ['accepted', 'lost', 'vanished'].includes(answer)
    if (isRefusedAnswer(answer) || answer === 'rejected') row.refusals++
    if (answer === 'accepted' && receivedWebhooks.has(upstreamJob))
      await store.change(job.id, webhookReceived(upstreamJob.id, state.now), state.now)
  }

  return { checkImage, submit }
}
