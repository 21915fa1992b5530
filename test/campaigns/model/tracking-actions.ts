/**
 * Steps of tracking a job that was sent: upstream runs it and sends its webhook, and the poller polls it.
 * Invariant: a poll reports upstream's state at the moment of the poll, even if it is written later.
 */

import type { Job, Observation } from '../../../src/domain/prediction.ts'
import {
  type PollOptions,
  pollFailed,
  pollSucceeded,
  routinePollUpdate,
  webhookReceived,
} from '../../../src/domain/transitions.ts'
import { SECOND } from '../../support/store.ts'
import { DAY_MS, DEADLINE_MS, ENDS, type Step, type UpstreamJob } from './model.ts'
import type { ModelState } from './model-state.ts'

export function createTrackingActions(state: ModelState) {
  const { store, rowOf, upstreamJobOf, jobOf, receivedWebhooks, lease, addTask } = state
  const { bounds, ends } = state.options

  const upstreamSteps = (upstreamJob: UpstreamJob): Step[] => {
    const name = `upstream ${upstreamJob.row.name}`
    if (upstreamJob.outcome !== null) {
      if (upstreamJob.webhooksSent === bounds.webhooks) return []
      return [[`${name}: webhook`, async () => receiveWebhook(upstreamJob)]]
    }
    const updateJob = (change: Partial<UpstreamJob>) => async () => void Object.assign(upstreamJob, change)
    const endSteps = ends.map((end): Step => [`${name}: ${end}`, updateJob({ outcome: ENDS[end] })])
    return upstreamJob.isProcessing
      ? endSteps
      : [...endSteps, [`${name}: processing`, updateJob({ isProcessing: true })]]
  }

  async function receiveWebhook(upstreamJob: UpstreamJob): Promise<void> {
    upstreamJob.webhooksSent++
    receivedWebhooks.add(upstreamJob)
    const id = (await store.findIdByUpstreamId(upstreamJob.id)) ?? upstreamJob.row.id
    addTask(`webhook intake ${upstreamJob.row.name}`, null, [
      [
        'writes',
        async () => {
          const hadUpstreamId = (await jobOf({ id })).upstreamId !== null
          const changed = await store.change(id, webhookReceived(upstreamJob.id, state.now), state.now)
          if (changed !== null && !hadUpstreamId) upstreamJob.row.occupiesSlot = true
        },
      ],
    ])
  }

  async function poll(): Promise<void> {
    const [job] = await store.claimPolls(lease())
    if (job === undefined) return
    const { name } = rowOf(job)
    const upstreamJob = upstreamJobOf(rowOf(job))
    const addWrite = (label: string, observation: Observation | null) =>
      addTask(`poller ${name} ${label}`, job, [['writes', () => recordPoll(job, observation)]])
    const observe = (): Observation =>
      upstreamJob?.outcome ?? { status: upstreamJob?.isProcessing ? 'processing' : 'waiting' }
    addTask(`poller ${name}`, job, [
      ['polls', async () => addWrite(`${observe().status} ${upstreamJob?.outcome?.status}`, observe())],
      ['gets no answer', async () => addWrite('nothing', null)],
    ])
  }

  async function recordPoll(job: Job, observation: Observation | null): Promise<void> {
    const row = rowOf(job)
    const pollOptions: PollOptions = {
      now: state.now,
      nextPollAt: state.now + (job.tracking === 'expired' ? DAY_MS : 5 * SECOND),
      deadlineMs: DEADLINE_MS,
      outputGraceMs: 0,
    }
    const rescheduled = routinePollUpdate(job, observation, pollOptions, false)
    if (rescheduled !== null) return store.reschedule([{ id: job.id, fence: job.fence, ...rescheduled }])
    const transition =
      observation === null ? pollFailed(pollOptions, false) : pollSucceeded(observation, pollOptions)
    const before = await jobOf(job)
    if ((await store.change(job.id, transition, state.now, job.fence)) === null) return
    const isEnd =
      observation !== null && observation.status !== 'waiting' && observation.status !== 'processing'
    const isEmpty = observation?.status === 'completed' && observation.outputs.length === 0
    const age = state.now - before.submittedAt!
    if (isEnd) row.occupiesSlot &&= isEmpty && before.completedWithoutOutputSince === null
    else if (age >= (observation === null ? 2 : 1) * DEADLINE_MS) row.occupiesSlot = false
  }

  return { upstreamSteps, poll }
}
