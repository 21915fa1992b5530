/**
 * What must be so: between any two steps, and at the end, where the row and upstream's ledger tell the same.
 */
import { expect } from 'vitest'
import { isFinal, type Job } from '../../../src/domain/prediction.ts'
import { jobOf, log, PRICE } from '../../support/store.ts'
import { DAY, END_NAMES, ENDS, type Row, standingOf, TRUTHS } from './model.ts'
import type { Scene } from './scene.ts'

export const isWaiting = (job: Job) => job.status === 'QUEUED' && job.submission === 'none'
/** Somebody has something to do about it, now or later. */
export const isOpen = (job: Job) => isWaiting(job) || job.submission === 'begun' || job.following !== null

export function createTruth(scene: Scene) {
  const { store, app, rows, runs, runOf, peek, countPlaces } = scene

  /** What must be so between any two steps. */
  async function check(): Promise<void> {
    if (rows.some(row => row.isPlaced && row.canceled !== null)) await countPlaces()
    for (const [i, job] of (await peek()).entries()) {
      const row = rows[i]!
      const standing = standingOf(job)
      if (row.stood.at(-1) !== standing) row.stood.push(standing)
      const isPlaced = job.submission === 'begun' || job.following === 'closely'
      expect(isPlaced, 'it takes a place').toBe(row.isPlaced)
      const run = runOf(row)
      if (row.canceled !== null) expect(job.status).toBe('CANCELED')
      if (row.canceled === 'free') expect(job).toMatchObject({ cost: 0, submission: 'none', following: null })
      if (job.upstreamId !== null) expect(job.upstreamId, 'a stranger’s video').toBe(run?.id)
      if (job.cost === 0 && run !== undefined) expect(run.end).toBe(ENDS.failed)
      // There is always a moment at which somebody will look after it, until nothing more can be known.
      if (isOpen(job)) expect(job.dueAt, 'stuck').toBeLessThanOrEqual(scene.now + DAY)
      else expect(isFinal(job.status), 'forgotten').toBe(true)
    }
  }

  /** At the end, the row and the ledger tell the same. */
  async function isTrue(row: Row): Promise<string> {
    const { status, error, cost, upstreamId, following } = await jobOf(store, row.id)
    const ran = runs.filter(run => run.of === row)
    expect(ran.length, 'charged twice').toBeLessThanOrEqual(1)
    expect(following).toBeNull()
    const is = [status, error, cost]
    if (row.canceled !== null) {
      const isFree = row.canceled === 'free' || row.claims === row.refusals
      expect(is).toEqual(['CANCELED', null, isFree ? 0 : PRICE])
    } else if (upstreamId !== null) {
      const end = END_NAMES.find(name => ENDS[name] === ran[0]!.end)!
      expect(is).toEqual(TRUTHS[end])
    } else if (row.claims > row.refusals) expect(is).toEqual(['FAILED', 'SUBMISSION_UNKNOWN', PRICE])
    else if (row.sent.includes('rejected')) expect(is).toEqual(['FAILED', 'INVALID_INPUT', 0])
    else
      expect([
        ['FAILED', 'INVALID_INPUT', 0],
        ['FAILED', 'IMAGE_UNREACHABLE', 0],
      ]).toContainEqual(is)

    const events = (await log(store, app)).filter(({ prediction }) => prediction.id === row.id)
    const told = events.map(({ prediction: { status, error, cost } }) => ({ status, error, cost }))
    expect(told[0]).toEqual({ status: 'QUEUED', error: null, cost: PRICE })
    expect(told.at(-1)).toEqual({ status, error, cost })
    for (const [i, { previousStatus }] of events.entries()) {
      expect(previousStatus).toBe(i === 0 ? null : told[i - 1]!.status)
      if (i === 0 || !isFinal(told[i - 1]!.status)) continue
      // The end was told. What comes after corrects a guess, or says that nothing was sent.
      const [before, then] = [told[i - 1]!, told[i]!]
      if (before.status === 'CANCELED') {
        expect(before.cost).toBe(PRICE)
        expect(then).toEqual({ ...before, cost: 0 })
      } else {
        expect(['SUBMISSION_UNKNOWN', 'TIMED_OUT']).toContain(before.error)
        expect(then).not.toEqual(before)
        expect(isFinal(then.status)).toBe(true)
      }
    }
    const stood = events.map(({ prediction }) => standingOf(prediction))
    // An event for each, and none for nothing.
    expect(stood).toEqual(row.stood)
    return stood.join(', ')
  }

  return { check, isTrue }
}
