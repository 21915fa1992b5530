import { expect, test } from 'vitest'
import { runCommand } from '../../src/cli/app/command.ts'
import { type Harness, startGateway, submit, takeFinal } from '../support/gateway.ts'
import { until } from '../support/until.ts'

const FEED = `subscription { predictionFeed { ... on PredictionEvent { prediction { id status } } } }`

const ready = async (harness: Harness) =>
  (await (await harness.fetch('/health/ready')).json()) as Record<string, unknown>
const command = (harness: Harness, ...args: string[]) =>
  runCommand(args, { DATABASE_URL: harness.databaseUrl }, Date.now())
const logged = (harness: Harness, message: string) => harness.log.filter(line => line.message === message)
const HELD = 'all submits are held; the jobs stay queued'

test('HOLD_SUBMITS=1 holds before the first submit, and the hold outlasts a restart until it is released', async () => {
  await using harness = await startGateway({ env: { HOLD_SUBMITS: '1' } })
  const id = await submit(harness)
  await harness.restart()
  const feed = harness.subscribe('WebSocket', FEED)
  await until(() => logged(harness, HELD).length === 2)
  expect((await ready(harness)).submits).toEqual({
    state: 'held',
    reason: 'start',
    since: expect.stringMatching(/^\d{4}-.+Z$/),
  })
  const metrics = await (await harness.fetch('/metrics')).text()
  expect(metrics).toContain('rushes_submits_held 1\n')
  expect(metrics).toContain('rushes_predictions{state="held"} 1\n')
  const { data } = await harness.query(`query ($id: ID!) { prediction(id: $id) { status queuePosition } }`, {
    id,
  })
  expect(data.prediction).toEqual({ status: 'QUEUED', queuePosition: 1 })
  await command(harness, 'release')
  expect((await takeFinal(feed, 1)).at(-1).prediction).toEqual({ id, status: 'COMPLETED' })
  expect((await ready(harness)).submits).toEqual({ state: 'closed' })
  await until(() => logged(harness, 'all submits are released').length === 1)
})

test('a hold stops a running gateway, which goes on to finish what it has sent', async () => {
  await using harness = await startGateway()
  const feed = harness.subscribe('WebSocket', FEED)
  const sent = await submit(harness)
  await until(async () => (await harness.gateway.store.countByState()).inFlight === 1)
  await command(harness, 'hold', '--why', 'a bill to check')
  const held = await submit(harness)
  expect((await takeFinal(feed, 1)).at(-1).prediction).toEqual({ id: sent, status: 'COMPLETED' })
  expect(await harness.gateway.store.countByState()).toMatchObject({ queued: 1, held: 1, submitting: 0 })
  await until(() => logged(harness, HELD).length === 1)
  expect(logged(harness, HELD)[0]!.fields).toMatchObject({ reason: 'operator', why: 'a bill to check' })
  const canceled = await harness.query(
    `mutation ($id: ID!) { cancelPrediction(input: {id: $id}) { ... on CancelPredictionPayload { mayStillBeCharged prediction { status } } } }`,
    { id: held },
  )
  expect(canceled.data.cancelPrediction).toEqual({
    mayStillBeCharged: false,
    prediction: { status: 'CANCELED' },
  })
})
