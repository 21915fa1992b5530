import { expect, test } from 'vitest'
import { type Harness, startGateway, submit, take } from '../support/gateway.ts'
import { until } from '../support/until.ts'

const scrape = async (harness: Harness) => (await harness.fetch('/metrics')).text()
/** The value of `name{labels}`, with the labels in the order of the line. */
const metricValue = (text: string, name: string, labels: string) =>
  Number(new RegExp(`^${name}\\{${labels}\\} (\\S+)$`, 'm').exec(text)?.[1])

/** Names of metrics in the release before: former, present, and the label that was renamed with it. */
const RENAMED: [former: string, present: string, labelBefore?: string, labelNow?: string][] = [
  ['rushes_refused_total', 'rushes_rejections_total', 'reason', 'code'],
  ['rushes_wrong_keys_total', 'rushes_invalid_credentials_total'],
  ['rushes_queue_seconds', 'rushes_queue_wait_seconds'],
  ['rushes_app_watchers', 'rushes_app_subscriptions'],
  ['rushes_submits_paused', 'rushes_submit_circuit_open'],
  ['rushes_submits_on_trial', 'rushes_submit_circuit_half_open'],
  ['rushes_concurrency', 'rushes_concurrency_limit'],
  ['rushes_reads_failing', 'rushes_poll_circuit_open'],
]
const RENAMED_STATES = [
  ['waiting', 'queued'],
  ['begun', 'submitting'],
  ['late', 'expired'],
  ['sought', 'unresolved'],
] as const

test('metrics and log lines name the app, and never contain its id or its key', async () => {
  await using harness = await startGateway()
  const { gateway, log } = harness
  const other = await gateway.issueKey('other', 60 * 60 * 1000)
  const ids = (await gateway.store.listApps()).map(({ id }) => id)
  expect(ids).toHaveLength(2)

  const feed = harness.subscribe('WebSocket', 'subscription { predictionFeed { __typename } }', {}, other)
  await take(feed, 1)
  await submit(harness, 'a long one sim:seconds=600')
  await submit(harness, 'a short one sim:seconds=0', other)
  const CANCEL = 'mutation { cancelPrediction(input: {id: "none"}) { ... on Error { code } } }'
  await harness.query(CANCEL, {}, other)

  const text = await until(async () => {
    const now = await scrape(harness)
    return metricValue(now, 'rushes_queue_wait_seconds_count', 'app="other"') === 1 &&
      metricValue(now, 'rushes_app_predictions', 'app="test",state="in_flight"') === 1
      ? now
      : null
  })
  expect(metricValue(text, 'rushes_app_predictions', 'app="test",state="queued"')).toBe(0)
  expect(metricValue(text, 'rushes_app_spent_usd', 'app="test"')).toBe(0.8)
  expect(metricValue(text, 'rushes_app_subscriptions', 'app="test"')).toBe(0)
  expect(metricValue(text, 'rushes_app_subscriptions', 'app="other"')).toBe(1)
  expect(metricValue(text, 'rushes_rejections_total', 'app="other",code="NOT_FOUND"')).toBe(1)

  for (const [former, present, labelBefore, labelNow] of RENAMED) {
    const lines = (name: string) =>
      text.split('\n').filter(line => new RegExp(`^${name}(_bucket|_sum|_count)?[{ ]`).test(line))
    expect(lines(former).length, former).toBeGreaterThan(0)
    expect(lines(former)).toEqual(
      lines(present).map(line => line.replace(present, former).replace(`${labelNow}=`, `${labelBefore}=`)),
    )
  }
  for (const [former, present] of RENAMED_STATES) {
    const count = metricValue(text, 'rushes_predictions', `state="${present}"`)
    expect(count).toBeGreaterThanOrEqual(0)
    expect(metricValue(text, 'rushes_predictions', `state="${former}"`)).toBe(count)
  }
  // A scraper rejects a text that has a series, or the head of a metric, twice.
  const series = text
    .split('\n')
    .filter(line => line !== '')
    .map(line => line.replace(/ \S+$/, ''))
  const heads = series.map(line => (line.startsWith('#') ? line.split(' ').slice(0, 3).join(' ') : line))
  expect(heads.filter((head, i) => heads.indexOf(head) !== i)).toEqual([])

  expect(log.find(({ message }) => message === 'submitted')?.fields).toMatchObject({
    app: expect.stringMatching(/^(test|other)$/),
    queuedMs: expect.any(Number),
  })
  const output = text + JSON.stringify(log)
  for (const secret of [...ids, harness.key, harness.key.slice(0, 12), other.slice(0, 12)])
    expect(output).not.toContain(secret)
})

test('an app that is created while the gateway runs is named from its first request on', async () => {
  await using harness = await startGateway()
  const key = await harness.gateway.issueKey('late', 60 * 60 * 1000)
  await submit(harness, 'sim:seconds=0', key)
  const line = await until(() => harness.log.find(({ message }) => message === 'submitted') ?? null)
  expect(line.fields.app).toBe('late')
})
