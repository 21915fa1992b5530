import { expect, test } from 'vitest'
import { MAX_COUNTED_JOB_MS } from '../../../../src/domain/fair-queue.ts'
import { submitAnswered } from '../../../../src/domain/transitions.ts'
import { openSqliteStore } from '../../../../src/store/sqlite/sqlite-store.ts'
import { queryDatabaseFile } from '../../../support/database-file.ts'
import { emptyFolder } from '../../../support/process.ts'
import {
  addPredictions,
  COMPLETED,
  claimReadySubmits,
  HOUR,
  newApp,
  pollSucceededAt,
  SECOND,
  T,
} from '../../../support/store.ts'

test('a slot is added to the virtual time when it is released, at most an hour of it, whatever the clock', async () => {
  await using folder = await emptyFolder()
  const file = `${folder.path}/rushes.db`
  const store = openSqliteStore(file, () => {})
  const app = await newApp(store)
  await store.setLimits(app, { weight: 2 })
  await addPredictions(store, app, 3)
  const virtualTime = () =>
    queryDatabaseFile(file, db => db.prepare('select virtual_time from apps').pluck().get())
  const accept = (id: string) =>
    store.change(id, submitAnswered({ kind: 'accepted', upstreamId: id }, T, T), T + SECOND)
  const finish = (id: string, at: number) => store.change(id, pollSucceededAt(COMPLETED, at, at), at)

  const [first, second, third] = await claimReadySubmits(store, T + SECOND)
  expect(virtualTime()).toBe(0)
  await store.change(first!.id, submitAnswered({ kind: 'unsent' }, T + 3 * SECOND, T), T + 3 * SECOND)
  expect(virtualTime()).toBe(SECOND)
  await accept(second!.id)
  await finish(second!.id, T - HOUR)
  expect(virtualTime()).toBe(SECOND)
  await accept(third!.id)
  await finish(third!.id, T + 1000 * HOUR)
  expect(virtualTime()).toBe(SECOND + MAX_COUNTED_JOB_MS / 2)
  await store.close()
})
