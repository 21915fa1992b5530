import { rename } from 'node:fs/promises'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { expect, test } from 'vitest'
import { type Harness, startGateway, submit } from '../support/gateway.ts'
import { until } from '../support/until.ts'
import { isSubmit, openWorld } from '../support/world.ts'

const SUBMIT = `mutation { submitVideo(input: { image: { url: "https://images.example/cat.png" }, prompt: "x" }) { __typename } }`

async function healthOf({ fetch }: Harness): Promise<unknown> {
  const response = await fetch('/health/ready')
  return [response.status, await response.json()]
}
const unavailable = (database: string) => [503, { status: 'unavailable', database }]

test('while the database is away nothing is accepted or sent, and the health says so; when it is back, all goes on', async () => {
  await using world = await openWorld()
  const file = join(world.harness.folder, 'rushes.db')
  const isReady = async () => ((await healthOf(world.harness)) as [number])[0] === 200
  expect(await isReady()).toBe(true)
  await rename(file, `${file}.away`)
  await until(async () => !(await isReady()))
  expect(await healthOf(world.harness)).toEqual(unavailable('replaced'))
  const { data, errors } = await world.harness.query(SUBMIT)
  expect([data, errors?.[0]?.extensions?.code]).toEqual([null, 'DATABASE_UNAVAILABLE'])
  expect(world.calls.filter(isSubmit)).toEqual([])
  await rename(`${file}.away`, file)
  await until(isReady)
  const id = await submit(world.harness)
  await world.untilStatus(id, 'COMPLETED')
  // One line for each worker that met it, and none for a request.
  const errorLines = world.harness.log.filter(({ level }) => level === 'error')
  const workers = errorLines.map(({ fields }) => fields.worker)
  expect(new Set(workers).size).toBe(workers.length)
  world.harness.log.length = 0
})

test('under the lock of another process the health says so, other apps are answered, and it recovers by itself', async () => {
  await using harness = await startGateway()
  expect(await healthOf(harness)).toMatchObject([200, { database: 'ok' }])
  const other = new Database(join(harness.folder, 'rushes.db'))
  other.exec('begin immediate')
  await until(async () => ((await healthOf(harness)) as [number])[0] === 503)
  expect(await healthOf(harness)).toEqual(unavailable('locked'))
  expect((await harness.query('{ viewer { name } }')).data).toEqual({ viewer: { name: 'test' } })
  other.exec('rollback')
  other.close()
  await until(async () => ((await healthOf(harness)) as [number])[0] === 200)
  await submit(harness)
})
