/**
 * Apps share places in simulated time. The store that gives them is the real one, in memory; only upstream is left out.
 * Invariant: what is counted is time in places, up to the moment at which the last job was begun.
 */

import type { AppId, Job } from '../../../src/domain/prediction.ts'
import { imageSeen } from '../../../src/domain/transitions.ts'
import { claimSubmits, shared, times, waiting } from '../../support/fair.ts'
import { create, draft, T } from '../../support/store.ts'
import { chancesOf } from '../polling/simulate.ts'
import type { Case, Guest } from './cases.ts'

export interface Outcome {
  /** Time in places of each app, in the case's order. */
  had: number[]
  /** The longest that an app had jobs waiting and none in a place, ms. */
  longestWithout: number
  /** Places that were given to others while a job waited that came alone: the most. */
  mostBefore: number
}

interface Seat extends Guest {
  id: AppId
  n: number
  waiting: number
  had: number
  /** Since when it waits and has no place. */
  without: number | null
  comesAt: number
  /** Places given to others since its only job came. */
  before: number
}

export async function simulate({ places, apps, jobs, backlog }: Case): Promise<Outcome> {
  using rows = shared()
  const random = chancesOf(7)
  const seats = apps.map((guest): Seat => {
    const id = rows.app({ weight: guest.weight })
    const start = { n: 0, waiting: 0, had: 0, without: null, comesAt: T, before: 0 }
    return { ...guest, id, ...start }
  })
  const seatOf = new Map(seats.map(seat => [seat.id, seat]))
  const running: { job: Job; seat: Seat; from: number; until: number }[] = []
  let [now, begun, made, longestWithout, mostBefore] = [T, 0, 0, 0, 0]

  /** The images that may be needed have been seen. */
  function fill(seat: Seat): void {
    const count = backlog - seat.waiting
    rows.add(times(count, i => waiting(seat.id, T - 1e9 + made++, i < jobs ? {} : UNSEEN)))
    seat.waiting = backlog
  }

  async function come(seat: Seat): Promise<void> {
    for (let i = 0; i < seat.comes!.jobs; i++) {
      const { prediction } = await create(rows.store, draft(seat.id), null, now)
      await rows.store.change(prediction.id, imageSeen(now), now)
    }
    seat.waiting += seat.comes!.jobs
    seat.comesAt = now + seat.comes!.everyMs * (0.5 + random())
    seat.before = 0
  }

  async function give(): Promise<void> {
    for (const job of await claimSubmits(rows.store, now, places, { concurrency: places })) {
      const seat = seatOf.get(job.appId)!
      seat.n++
      seat.waiting--
      begun++
      if (seat.comes?.jobs === 1) mostBefore = Math.max(mostBefore, seat.before)
      for (const other of seats) if (other !== seat && other.waiting > 0) other.before++
      running.push({ job, seat, from: now, until: now + seat.job(random) })
    }
  }

  const end = async ({ job }: { job: Job }) =>
    rows.store.change(
      job.id,
      () => ({ status: 'COMPLETED', submission: 'accepted', following: null, finishedAt: now }),
      now,
    )

  for (;;) {
    for (const seat of seats) {
      if (seat.comes === undefined && seat.waiting <= backlog / 2) fill(seat)
      if (seat.comes && seat.waiting + seat.n === 0 && seat.comesAt <= now) await come(seat)
    }
    for (const seat of seats) if (seat.waiting > 0 && seat.n === 0) seat.without ??= now
    await give()
    for (const seat of seats) {
      if (seat.without === null || (seat.waiting > 0 && seat.n === 0)) continue
      longestWithout = Math.max(longestWithout, now - seat.without)
      seat.without = null
    }
    if (begun >= jobs) break
    running.sort((a, b) => a.until - b.until)
    const comes = seats.filter(seat => seat.comes && seat.waiting + seat.n === 0).map(seat => seat.comesAt)
    now = Math.min(running[0]?.until ?? Infinity, ...comes.filter(at => at > now))
    while (running[0] && running[0].until <= now) {
      const ended = running.shift()!
      ended.seat.had += ended.until - ended.from
      ended.seat.n--
      await end(ended)
    }
  }
  for (const { seat, from } of running) seat.had += now - from
  return { had: seats.map(({ had }) => had), longestWithout, mostBefore }
}

const UNSEEN = { imageSeenAt: null }
