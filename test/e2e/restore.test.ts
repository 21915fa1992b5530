import { copyFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { runCommand } from '../../src/cli/app/command.ts'
import { type ApiCall, createSimulator, type Fault } from '../../src/simulator/simulator.ts'
import { type Harness, startGateway, submit, take } from '../support/gateway.ts'
import { emptyFolder } from '../support/process.ts'
import { until } from '../support/until.ts'
import { isSubmit, promptOf } from '../support/world.ts'

const FEED = `subscription ($after: String) { predictionFeed(after: $after) {
  __typename
  ... on PredictionEvent { cursor }
  ... on FeedGap { reason }
} }`
const LATER_JOBS = 60

/** A gateway with an account of its own, whose jobs outlast the gateway's database. */
async function fixture(fault: (call: ApiCall) => Fault | null = () => null) {
  const folder = await emptyFolder()
  const simulator = await createSimulator({
    file: join(folder.path, 'upstream.db'),
    key: 'account',
    listsInputs: true,
    fault,
  })
  const harness = await startGateway({
    env: {
      WAVESPEED_API_KEY: 'account',
      WAVESPEED_BASE_URL: simulator.origin,
      UPSTREAM_CONCURRENCY: '1000',
      UPSTREAM_SUBMITS_PER_MINUTE: '100000',
      // The comparison waits until a POST of the lost time has its job: two of these.
      UPSTREAM_SUBMIT_TIMEOUT_MS: '1500',
    },
  })
  const file = join(harness.folder, 'rushes.db')
  const command = (...args: string[]) => runCommand(args, { DATABASE_URL: harness.databaseUrl }, Date.now())
  return {
    harness,
    file,
    command,
    // biome-ignore lint/suspicious/noExplicitAny: each verb has its own result
    json: async (...args: string[]): Promise<any> => JSON.parse(await command(...args, '--json')),
    /** Prompts of all jobs that upstream has charged. */
    charges: () => simulator.calls.filter(isSubmit).map(promptOf),
    async replaceDatabase(copy: string) {
      for (const suffix of ['-wal', '-shm']) await rm(file + suffix, { force: true })
      await copyFile(copy, file)
    },
    async [Symbol.asyncDispose]() {
      await harness[Symbol.asyncDispose]()
      await simulator.close()
      await folder[Symbol.asyncDispose]()
    },
  }
}

const firstOf = async (harness: Harness, after: string) => {
  const feed = harness.subscribe('WebSocket', FEED, { after })
  const [item] = await take(feed, 1)
  await feed.return?.()
  return item!.data.predictionFeed
}
const isIdle = async ({ gateway }: Harness) => {
  const { queued, held, submitting, inFlight } = await gateway.store.countByState()
  return queued - held + submitting + inFlight === 0
}
const feedCursor = async (harness: Harness): Promise<string> =>
  (await harness.query('{ feedCursor }')).data.feedCursor
const statusOf = async (harness: Harness, id: string): Promise<string> =>
  (await harness.query('query ($id: ID!) { prediction(id: $id) { status } }', { id })).data.prediction.status

test('after a backup, many more jobs and a restore nothing is charged twice and no event is skipped in silence', async () => {
  await using f = await fixture()
  const { harness } = f
  await f.command('hold')
  const waiting: string[] = []
  for (let i = 0; i < 6; i++) waiting.push(await submit(harness, `waiting ${i} sim:seconds=0.05`))
  const twins = [
    await submit(harness, 'twin sim:seconds=0.05'),
    await submit(harness, 'twin sim:seconds=0.05'),
  ]
  const token = (
    await harness.query(
      'mutation { createAccessToken(input: { permissions: [READ] }) { ... on CreateAccessTokenPayload { token } } }',
    )
  ).data.createAccessToken.token
  const copy = join(harness.folder, 'copy.db')
  await f.command('backup', copy)
  await f.command('release')
  const cursors = [await feedCursor(harness)]
  for (let i = 0; i < LATER_JOBS; i++) await submit(harness, `later ${i} sim:seconds=0.05`)
  await until(() => isIdle(harness))
  cursors.push(await feedCursor(harness))
  const charged = f.charges()
  expect(charged).toHaveLength(8 + LATER_JOBS)

  await harness.gateway.close()
  await f.replaceDatabase(copy)
  await harness.restart()
  expect((await (await harness.fetch('/health/ready')).json()) as object).toMatchObject({
    submits: { state: 'held', reason: 'restored' },
  })
  for (const cursor of cursors)
    expect(await firstOf(harness, cursor)).toEqual({ __typename: 'FeedGap', reason: 'CURSOR_UNKNOWN' })
  expect((await harness.query('{ viewer { name } }', {}, token)).errors![0]!.extensions!.code).toBe(
    'UNAUTHENTICATED',
  )

  await expect(f.command('release')).rejects.toThrow('say first which of its keys stay valid')
  const { keys } = await f.json('restored')
  expect(keys).toEqual([
    { app: 'test', keys: [expect.objectContaining({ prefix: harness.key.slice(0, 12) })] },
  ])
  const { report } = await until(async () => {
    const result = await f.json('restored', '--keep-keys').catch(() => null)
    return result?.report ? result : null
  })
  expect(report).toEqual({
    adopted: 6,
    absent: 0,
    unsure: 2,
    orphans: LATER_JOBS,
    orphanCostUsd: 0.8 * LATER_JOBS,
    attributedCostUsd: 0.8 * LATER_JOBS,
    isIncomplete: false,
  })
  for (const id of waiting) await until(async () => (await statusOf(harness, id)) === 'COMPLETED')
  const [app] = await f.json('list', 'test')
  expect(app.usage.spentThisMonthUsd).toBeCloseTo(0.8 * (8 + LATER_JOBS), 6)

  await f.command('release')
  const next = await submit(harness, 'next sim:seconds=0.05')
  await until(async () => (await statusOf(harness, next)) === 'COMPLETED')
  expect(f.charges()).toEqual([...charged, 'next sim:seconds=0.05'])

  const held = await f.json('queue', '--held')
  expect(held.map((each: { reason: string }) => each.reason)).toEqual(['restored-unsure', 'restored-unsure'])
  await expect(f.command('release', held[0].id, 'nonsense')).rejects.toThrow('"nonsense" is no job')
  await f.command('cancel', held[0].id)
  expect(await statusOf(harness, twins[0]!)).toBe('CANCELED')
  await f.command('release', held[1].id)
  await until(async () => (await statusOf(harness, twins[1]!)) === 'COMPLETED')
  expect(f.charges()).toHaveLength(charged.length + 2)
}, 60_000)

test('a POST under way in the copy gets its own job, and none gets the job of a forgotten row', async () => {
  await using f = await fixture(call => {
    if (!isSubmit(call)) return null
    if (promptOf(call) === 'with a job') return { stall: 'after' }
    return promptOf(call) === 'without a job' ? { stall: 'before' } : null
  })
  const { harness } = f
  const { store } = harness.gateway
  const found = await submit(harness, 'with a job')
  const lost = await submit(harness, 'without a job')
  await until(async () => (await store.countByState()).submitting === 2)
  const copy = join(harness.folder, 'copy.db')
  await f.command('backup', copy)
  await until(async () => (await store.countByState()).submitting === 0)
  await submit(harness, 'forgotten sim:seconds=0.05')
  await until(async () => f.charges().includes('forgotten sim:seconds=0.05'))
  await harness.gateway.close()
  await f.replaceDatabase(copy)
  await harness.restart()
  await until(async () => (await harness.gateway.store.lostTimes())[0]?.report ?? null)
  await until(async () => ['CREATED', 'PROCESSING', 'COMPLETED'].includes(await statusOf(harness, found)))
  expect(await statusOf(harness, lost)).toBe('QUEUED')
  expect((await harness.gateway.store.lostTimes())[0]!.report).toMatchObject({ adopted: 1, orphans: 1 })
  const unanswered = await harness.gateway.store.unansweredJobs(Date.now())
  expect(unanswered.map(({ input }) => input.prompt)).toEqual(['without a job'])
  await f.command('restored', '--keep-keys')
  await f.command('release')
  await submit(harness, 'next')
  await until(() => f.charges().includes('next'))
  expect(f.charges()).toHaveLength(4)
}, 60_000)

test('a plain copy of an earlier file is noticed by the head beside it, and what upstream does not list waits', async () => {
  await using f = await fixture()
  const { harness } = f
  await f.command('hold')
  const id = await submit(harness, 'never sent')
  await harness.gateway.close()
  const copy = join(harness.folder, 'copy.db')
  await copyFile(f.file, copy)
  await harness.restart()
  await submit(harness, 'forgotten')
  await harness.gateway.close()
  await f.replaceDatabase(copy)
  await harness.restart()
  const report = await until(async () => (await harness.gateway.store.lostTimes())[0]?.report ?? null)
  expect(report).toMatchObject({ adopted: 0, absent: 1, unsure: 0, orphans: 0 })
  expect(await f.json('queue', '--held')).toMatchObject([{ app: 'test', reason: 'restored-absent' }])
  expect(await f.json('restored', '--revoke-since', '2020-01-01')).toMatchObject({
    areKeysDecided: true,
    revoked: [harness.key.slice(0, 12)],
  })
  await f.command('release')
  await harness.restart()
  expect(await harness.gateway.store.lostTimes()).toHaveLength(1)
  expect(f.charges()).toEqual([])
  expect(id).toBeTruthy()
}, 60_000)

test('a restore that no start can notice is declared while no gateway runs', async () => {
  await using f = await fixture()
  const { harness } = f
  await expect(f.command('restored')).rejects.toThrow('another gateway runs')
  const before = await feedCursor(harness)
  await submit(harness, 'sim:seconds=0.05')
  await until(() => isIdle(harness))
  await harness.gateway.close()
  expect(await f.command('restored')).toContain(
    'All access tokens have ended. All submits are held until "release".',
  )
  await harness.restart()
  expect(await firstOf(harness, before)).toEqual({ __typename: 'FeedGap', reason: 'CURSOR_UNKNOWN' })
  expect(await harness.gateway.store.listHolds()).toMatchObject([{ reason: 'restored' }])
  expect(await f.json('restored', '--keep-keys')).toMatchObject({ areKeysDecided: true, revoked: [] })
}, 60_000)
