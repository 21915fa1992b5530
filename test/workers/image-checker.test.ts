import { readFileSync } from 'node:fs'
import { createServer, type RequestListener } from 'node:http'
import { expect, test } from 'vitest'
import type { HarnessOptions } from '../support/gateway.ts'
import { listen } from '../support/loopback.ts'
import { until } from '../support/until.ts'
import { FINAL_STATUSES, isProbe, openWorld, reply } from '../support/world.ts'

const JPEG = readFileSync('src/simulator/assets/sample.jpg')

/** A world that fetches images, and a host for them. */
async function open(image: RequestListener, options: Parameters<typeof openWorld>[0] = {}) {
  let requestCount = 0
  const server = createServer((request, response) => {
    requestCount++
    image(request, response)
  })
  const host = await listen(server)
  const world = await openWorld({ images: true, ...options })
  return {
    world,
    image: { image: { url: `${host.origin}/secret-name.jpg` } },
    get requestCount() {
      return requestCount
    },
    async [Symbol.asyncDispose]() {
      await world[Symbol.asyncDispose]()
      await host[Symbol.asyncDispose]()
    },
  }
}

const env = (more: Record<string, string>): Pick<HarnessOptions, 'env'> => ({ env: more })

test('a reachable image is checked once, and its job is sent', async () => {
  await using it = await open((_, response) => response.end(JPEG))
  const { id } = await it.world.submit(undefined, undefined, it.image)
  await it.world.untilStatus(id, 'COMPLETED')
  expect(it.requestCount).toBe(1)
  expect(it.world.submits()).toHaveLength(1)
})

test.each<[string, RequestListener]>([
  ['a page', (_, response) => response.end('<html>not found</html>')],
  ['nothing', (_, response) => response.end()],
  ['over 25 MB', (_, response) => response.writeHead(200, { 'content-length': 26_300_000 }).write(JPEG)],
])(
  'a file that is %s fails with INVALID_INPUT at once, is never sent and costs nothing',
  async (_, image) => {
    await using it = await open(image)
    const { id } = await it.world.submit(undefined, undefined, it.image)
    expect(await it.world.untilStatus(id, ...FINAL_STATUSES)).toMatchObject({
      status: 'FAILED',
      error: { code: 'INVALID_INPUT', retryable: false },
      cost: { amount: 0 },
      submittedAt: null,
      upstreamId: null,
    })
    expect([it.requestCount, it.world.submits().length]).toEqual([1, 0])
  },
)

test('three failed checks end a job with IMAGE_UNREACHABLE, with a wait before each; it is never sent and costs nothing', async () => {
  await using it = await open((_, response) => response.writeHead(404).end())
  const { id, prompt } = await it.world.submit(undefined, undefined, it.image)
  for (const [tries, wait] of [
    [1, 2000],
    [2, 15_000],
  ] as const) {
    await until(async () => (await it.world.job(prompt)).imageCheckFailures === tries)
    await it.world.untilSubmitterClaimed()
    expect(it.requestCount).toBe(tries)
    expect((await it.world.job(prompt)).dueAt - it.world.now()).toBeGreaterThan(wait - 1500)
    expect(await it.world.read(id)).toMatchObject({ status: 'QUEUED', queuePosition: 1 })
    it.world.advanceClock(wait)
  }
  expect(await it.world.untilStatus(id, ...FINAL_STATUSES)).toMatchObject({
    status: 'FAILED',
    error: { code: 'IMAGE_UNREACHABLE' },
    cost: { amount: 0 },
  })
  expect([it.requestCount, it.world.submits().length]).toEqual([3, 0])
})

test('an image that is reachable at the third check is accepted', async () => {
  await using it = await open((_, response) =>
    it.requestCount < 3 ? response.writeHead(503).end() : response.end(JPEG),
  )
  const { id, prompt } = await it.world.submit(undefined, undefined, it.image)
  for (const tries of [1, 2]) {
    await until(async () => (await it.world.job(prompt)).imageCheckFailures === tries)
    it.world.advanceClock(15_000)
  }
  await it.world.untilStatus(id, 'COMPLETED')
})

test('if upstream cannot be reached either, the gateway is offline: the third failure ends no job', async () => {
  let offline = true
  await using it = await open((_, response) => (offline ? response.destroy() : response.end(JPEG)), {
    fault: call => (offline && isProbe(call) ? reply(503, '') : null),
  })
  const { id, prompt } = await it.world.submit(undefined, undefined, it.image)
  for (const count of [1, 2, 3, 4]) {
    await until(() => it.requestCount === count)
    await until(async () => (await it.world.job(prompt)).dueAt > it.world.now() + 1000)
    await until(() => it.world.log.filter(line => /image/.test(line.message)).length === count)
    it.world.advanceClock(31_000)
  }
  offline = false
  it.world.advanceClock(31_000)
  await it.world.untilStatus(id, 'COMPLETED')
})

test('slow image checks occupy no slot: other jobs are sent meanwhile', async () => {
  const pending: (() => void)[] = []
  await using it = await open((_, response) => void pending.push(() => response.end(JPEG)), {
    ...env({ UPSTREAM_CONCURRENCY: '1' }),
  })
  const slow = [await it.world.submit(undefined, undefined, it.image)]
  await until(() => pending.length === 1)
  const url = it.world.gateway.simulator!.sampleImage
  const quick = await it.world.submit(undefined, undefined, { image: { url } })
  await it.world.untilStatus(quick.id, 'COMPLETED')
  expect(await it.world.read(slow[0]!.id)).toMatchObject({ status: 'QUEUED', queuePosition: 1 })
  pending[0]!()
  await it.world.untilStatus(slow[0]!.id, 'COMPLETED')
})

test('images of one app that hang delay no other app', async () => {
  await using it = await open(() => {}, { ...env({ UPSTREAM_CONCURRENCY: '3' }) })
  for (let n = 0; n < 40; n++) await it.world.submit(undefined, undefined, it.image)
  await until(() => it.requestCount >= 8)
  const other = await it.world.harness.gateway.issueKey('other', 3_600_000)
  const begun = performance.now()
  const image = { url: it.world.harness.gateway.simulator!.sampleImage }
  const { prompt } = await it.world.submit(undefined, other, { image })
  await until(async () => (await it.world.job(prompt)).status === 'COMPLETED')
  expect(performance.now() - begun).toBeLessThan(5000)
  expect(it.requestCount).toBeLessThan(20)
})

test('images of many apps that hang delay no other app, nor one another', async () => {
  await using it = await open(() => {}, { ...env({ UPSTREAM_CONCURRENCY: '3' }) })
  const { gateway } = it.world.harness
  for (let n = 0; n < 6; n++) {
    const key = await gateway.issueKey(`hanging ${n}`, 3_600_000)
    for (let i = 0; i < 10; i++) await it.world.submit(undefined, key, it.image)
  }
  await until(() => it.requestCount >= 25)
  const other = await gateway.issueKey('other', 3_600_000)
  const { prompt } = await it.world.submit(undefined, other, {
    image: { url: gateway.simulator!.sampleImage },
  })
  await until(async () => (await it.world.job(prompt)).status === 'COMPLETED', 3000)
  expect(it.requestCount).toBeLessThan(40)
})

test('an image of a job that has waited for minutes is checked again before the job is sent', async () => {
  await using it = await open((_, response) => response.end(JPEG), { ...env({ UPSTREAM_CONCURRENCY: '1' }) })
  const first = await it.world.submit('sim:seconds=600', undefined, it.image)
  await it.world.untilStatus(first.id, 'CREATED')
  const second = await it.world.submit(undefined, undefined, it.image)
  await until(() => it.requestCount === 2)
  it.world.advanceClock(6 * 60_000)
  await until(() => it.requestCount === 3)
  it.world.gateway.simulator?.advance(700_000)
  await it.world.untilStatus(second.id, 'COMPLETED')
})

test('no more images are checked than jobs may soon be sent', async () => {
  await using it = await open((_, response) => response.end(JPEG), { ...env({ UPSTREAM_CONCURRENCY: '1' }) })
  const jobs = []
  for (let n = 0; n < 10; n++) jobs.push(await it.world.submit('sim:seconds=600', undefined, it.image))
  await it.world.untilStatus(jobs[0]!.id, 'CREATED')
  await it.world.untilSubmitterClaimed(4)
  // Three are verified, and three are being checked meanwhile.
  expect(it.requestCount).toBeLessThanOrEqual(6)
  expect(it.world.submittedPrompts()).toEqual([jobs[0]!.prompt])
})

test('an image in the private network is unreachable unless that is allowed, and the app gets the same error as for any other host', async () => {
  await using it = await open((_, response) => response.end(JPEG), {
    ...env({ ALLOW_PRIVATE_IMAGE_HOSTS: '0' }),
  })
  const { id, prompt } = await it.world.submit(undefined, undefined, it.image)
  for (const tries of [1, 2]) {
    await until(async () => (await it.world.job(prompt)).imageCheckFailures === tries)
    it.world.advanceClock(15_000)
  }
  const ended = await it.world.untilStatus(id, ...FINAL_STATUSES)
  expect(ended.error).toEqual({
    code: 'IMAGE_UNREACHABLE',
    message: 'The image could not be fetched.',
    retryable: false,
  })
  expect(it.requestCount).toBe(0)
  const log = JSON.stringify(it.world.log)
  expect(log).toContain('ADDRESS_NOT_PUBLIC')
  expect(log).not.toMatch(/secret-name|127\.0\.0\.1:\d+\/secret/)
})
