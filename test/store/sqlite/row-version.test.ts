import { join } from 'node:path'
import Database from 'better-sqlite3'
import { expect, test } from 'vitest'
import {
  imageCheckFailed,
  imageVerified,
  notListedUpstream,
  submitAbandoned,
  submitAccepted,
  submitAnswered,
  webhookReceived,
} from '../../../src/domain/transitions.ts'
import { openSqliteStore } from '../../../src/store/sqlite/sqlite-store.ts'
import { emptyFolder } from '../../support/process.ts'
import {
  COMPLETED,
  claimReadySubmits,
  createPrediction,
  draft,
  HOUR,
  jobOf,
  MINUTE,
  newApp,
  pollSucceededAt,
  SECOND,
  T,
} from '../../support/store.ts'

/** Rejects an UPDATE that does not raise the version of each row. */
function requireRisingVersions(file: string): void {
  const client = new Database(file)
  client.exec(`create trigger rising_version before update on predictions when new.version <= old.version
    begin select raise(abort, 'the version does not rise'); end`)
  client.close()
}

test('every UPDATE in the whole life of a job raises its version', async () => {
  await using folder = await emptyFolder()
  const file = join(folder.path, 'rushes.db')
  let store = openSqliteStore(file, () => {})
  requireRisingVersions(file)
  const app = await newApp(store)
  const once = { restrictionKey: '', key: 'k', fingerprint: 'a' }
  const claim = { now: T + MINUTE, leaseUntil: T + MINUTE, limit: 9 }
  const images = { ...claim, imageVerifiedAfter: 0, readyTarget: 9 }
  const { prediction } = await createPrediction(store, draft(app, { tags: ['a'] }), once, T)
  const { id } = prediction

  const [unchecked] = await store.claimImageChecks(images)
  await store.change(id, imageCheckFailed(T, T), T, unchecked!.fence)
  const [checked] = await store.claimImageChecks(images)
  await store.change(id, imageVerified(T), T, checked!.fence)
  const [unsent] = await claimReadySubmits(store, T)
  await store.change(id, submitAnswered({ kind: 'throttled', retryAfterMs: 1 }, T, T), T, unsent!.fence)
  const circuit = await store.claimCircuitProbe(T + SECOND, () => T)
  await store.halfOpenCircuit(circuit!.version)
  await claimReadySubmits(store, T + SECOND)
  const [abandoned] = await store.claimAbandonedSubmits({ ...claim, now: T + HOUR })
  await store.change(id, submitAbandoned(T, T), T, abandoned!.fence)
  await store.followProcessClock(SECOND)
  const [unresolved] = await store.claimUnresolvedSubmits({ ...claim, now: T + HOUR })
  const search = { now: T + MINUTE, nextSearchAt: T + MINUTE, submitUnknownAfterMs: HOUR }
  await store.change(id, notListedUpstream(search, false), T, unresolved!.fence)
  await store.change(id, submitAccepted('u', T), T)
  const [polled] = await store.claimPolls({ ...claim, now: T + HOUR })
  await store.reschedule([{ id, fence: polled!.fence, dueAt: T + HOUR, lastSeenRunningAt: T }])
  await store.change(id, webhookReceived('u', T), T)
  await store.followProcessClock(-SECOND)
  await store.close()
  store = openSqliteStore(file, () => {}, { thisProcess: { gatewayStartedAt: T } })
  await store.change(id, pollSucceededAt(COMPLETED, T + HOUR, T), T + HOUR)
  await createPrediction(store, draft(app), once, T + 24 * HOUR)

  const job = await jobOf(store, id)
  expect(job).toMatchObject({ status: 'COMPLETED', submission: 'accepted', tracking: null })
  expect(job.version).toBeGreaterThan(20)
  await store.close()
})

test('the lease of a waiting job that an earlier process held ends with the next version', async () => {
  await using folder = await emptyFolder()
  const file = join(folder.path, 'rushes.db')
  const before = openSqliteStore(file, () => {})
  const { prediction } = await createPrediction(before, draft(await newApp(before)), null, T + HOUR)
  await before.close()
  requireRisingVersions(file)
  const store = openSqliteStore(file, () => {}, { thisProcess: { gatewayStartedAt: T } })
  expect(await jobOf(store, prediction.id)).toMatchObject({ dueAt: 0, version: 2 })
  await store.close()
})
