/**
 * Transfers of uploaded images to upstream, before their jobs are sent.
 */
import { createServer, type IncomingMessage } from 'node:http'
import { buffer } from 'node:stream/consumers'
import { expect, test } from 'vitest'
import { listen } from '../support/loopback.ts'
import { until } from '../support/until.ts'
import { JPEG, png, uploadImage } from '../support/upload.ts'
import {
  dataReply,
  FINAL_STATUSES,
  isUpload,
  openWorld,
  refusal,
  reply,
  type TimedCall,
} from '../support/world.ts'

const DAY = 24 * 60 * 60 * 1000
const isTicketRequest = (call: TimedCall) => call.path === '/media/uploads'
const isPut = (call: TimedCall) => call.method === 'PUT'
type World = Awaited<ReturnType<typeof openWorld>>
const uploadCalls = ({ calls }: World) => calls.filter(isUpload)
const putCalls = ({ calls }: World) => calls.filter(isPut)

const issueKey = (world: World) => world.harness.gateway.issueKey('test', 100 * DAY)
const submitUpload = async (world: World, uploadId: string, directives?: string) =>
  world.submit(directives, await issueKey(world), { image: { uploadId } })

test('an image is transferred by a ticket and a PUT, and its job is sent with the upstream URL', async () => {
  await using world = await openWorld({ images: true })
  const made = await uploadImage(world.harness)
  const { id } = await submitUpload(world, made.id)
  await world.untilStatus(id, 'COMPLETED')
  expect(uploadCalls(world).map(({ method, body }) => [method, body])).toEqual([
    ['POST', { filename: 'image.jpeg', size: JPEG.length, content_type: 'image/jpeg' }],
    ['PUT', undefined],
  ])
  const [sent] = world.submits()
  const { image } = sent!.body as { image: string }
  expect(image).toContain(world.gateway.simulator!.origin)
  const handed = await fetch(image)
  expect([handed.headers.get('content-type'), Buffer.from(await handed.arrayBuffer())]).toEqual([
    'image/jpeg',
    JPEG,
  ])
  // The app gets the URL of its own upload.
  const { data } = await world.harness.query(
    'query ($id: ID!) { prediction(id: $id) { input { imageUrl } } }',
    { id },
  )
  expect(data.prediction.input.imageUrl).toBe(made.url)
})

test('25 MB arrive unchanged', async () => {
  await using world = await openWorld({ images: true })
  const data = png(25 * 1024 * 1024)
  const { id } = await submitUpload(world, (await uploadImage(world.harness, data)).id)
  await world.untilStatus(id, 'COMPLETED')
  const { image } = world.submits()[0]!.body as { image: string }
  expect(Buffer.from(await (await fetch(image)).arrayBuffer()).equals(data)).toBe(true)
})

test('ten jobs of one image at once, of two tokens, transfer it once; another app transfers its own', async () => {
  await using world = await openWorld({ images: true })
  const { id } = await uploadImage(world.harness)
  const jobs = await Promise.all(Array.from({ length: 10 }, () => submitUpload(world, id)))
  for (const job of jobs) await world.untilStatus(job.id, 'COMPLETED')
  expect(putCalls(world)).toHaveLength(1)
  expect(new Set(world.submits().map(({ body }) => (body as { image: string }).image)).size).toBe(1)
  const other = await world.harness.gateway.issueKey('other', DAY)
  const theirs = await uploadImage(world.harness, JPEG, other)
  const { prompt } = await world.submit(undefined, other, { image: { uploadId: theirs.id } })
  await until(async () => (await world.job(prompt)).status === 'COMPLETED')
  expect(putCalls(world)).toHaveLength(2)
})

test('an image that upstream has deleted is transferred again', async () => {
  await using world = await openWorld({ images: true })
  const made = await uploadImage(world.harness)
  await world.untilStatus((await submitUpload(world, made.id)).id, 'COMPLETED')
  // A week has passed for upstream, and no time for the gateway.
  world.gateway.simulator!.advance(7 * DAY)
  await world.untilStatus((await submitUpload(world, made.id)).id, 'COMPLETED', ...FINAL_STATUSES)
  expect(putCalls(world)).toHaveLength(2)
  const images = world.submits().map(({ body }) => (body as { image: string }).image)
  expect(new Set(images).size).toBe(2)
})

test('an image that upstream may soon delete is transferred again without a check', async () => {
  await using world = await openWorld()
  const made = await uploadImage(world.harness)
  await world.untilStatus((await submitUpload(world, made.id)).id, 'COMPLETED')
  world.advanceClock(7 * DAY - 30 * 60_000)
  await world.untilStatus((await submitUpload(world, made.id)).id, 'COMPLETED')
  expect(putCalls(world)).toHaveLength(2)
})

test.each([
  ['refuses the key', isTicketRequest, () => refusal(401)],
  ['wants money, by a 400', isTicketRequest, () => refusal(400, 400, 'insufficient balance')],
  ['wants fewer', isTicketRequest, () => reply(429, '', { 'retry-after': '1' })],
  ['is down', isTicketRequest, () => reply(503, '')],
  ['does not know the call', isTicketRequest, () => refusal(404)],
  ['hangs up', isTicketRequest, () => ({ cut: 'before' }) as const],
  ['gives no ticket', isTicketRequest, () => dataReply({})],
  [
    'gives a ticket for a plain http host',
    isTicketRequest,
    () =>
      dataReply({
        download_url: 'https://a.example/1',
        upload: { method: 'PUT', url: 'http://a.example/1', headers: {} },
      }),
  ],
  ['hangs up at the file', isPut, () => ({ cut: 'before' }) as const],
  ['has lost its answer', isPut, () => ({ cut: 'after' }) as const],
  ['says that the ticket has expired', isPut, () => reply(403, '')],
  ['says that the connection was slow', isPut, () => reply(400, '')],
  ['redirects the PUT', isPut, () => reply(302, '', { location: 'https://a.example/' })],
])('an upstream that %s ends no job: the job is postponed and sent later', async (_, which, fault) => {
  let isFaulty = true
  await using world = await openWorld({
    images: true,
    fault: call => (isFaulty && which(call) ? fault() : null),
  })
  const { id, prompt } = await submitUpload(world, (await uploadImage(world.harness)).id)
  const lines = () => world.log.filter(({ message }) => message.includes('could not be transferred'))
  await until(() => lines().length === 1)
  expect(await world.job(prompt)).toMatchObject({
    status: 'QUEUED',
    submission: 'none',
    imageCheckFailures: 0,
  })
  expect(lines()[0]!.fields.waitMs as number).toBeGreaterThan(500)
  world.advanceClock(10_000)
  await until(() => lines().length === 2)
  expect(lines()[1]!.fields.waitMs as number).toBeGreaterThan(3000)
  expect(world.submits()).toEqual([])
  isFaulty = false
  await until(async () => {
    world.advanceClock(1000)
    return (await world.job(prompt)).status === 'COMPLETED'
  })
  expect((await world.read(id)).status).toBe('COMPLETED')
  expect(JSON.stringify(world.log)).not.toMatch(/https?:\/\/(127|a\.example)[^"]*\/(media|uploads|1)/)
  expect(world.log.filter(({ level }) => level === 'error')).toEqual([])
})

test.each([
  [400, isTicketRequest],
  [413, isTicketRequest],
  [422, isTicketRequest],
  [413, isPut],
])('a %i from upstream ends the job as INVALID_INPUT, unsent and free', async (status, which) => {
  await using world = await openWorld({ fault: call => (which(call) ? refusal(status) : null) })
  const { id } = await submitUpload(world, (await uploadImage(world.harness)).id)
  expect(await world.untilStatus(id, ...FINAL_STATUSES)).toMatchObject({
    status: 'FAILED',
    error: { code: 'INVALID_INPUT' },
    cost: { amount: 0 },
    submittedAt: null,
  })
  expect(world.submits()).toEqual([])
})

test('while upstream accepts no image, jobs of other images continue, and transfers are tried ever less often', async () => {
  await using world = await openWorld({
    images: true,
    fault: call => (isTicketRequest(call) ? reply(503, '') : null),
  })
  for (let n = 0; n < 5; n++) await submitUpload(world, (await uploadImage(world.harness, png(100 + n))).id)
  await until(() => uploadCalls(world).length > 0)
  const image = { url: world.gateway.simulator!.sampleImage }
  const { id } = await world.submit(undefined, undefined, { image })
  await world.untilStatus(id, 'COMPLETED')
  const waits = () =>
    world.log
      .filter(({ message }) => message.includes('could not be transferred'))
      .map(({ fields }) => fields.waitMs as number)
  // Two, four, eight, sixteen seconds; each attempt delays all five jobs.
  await until(() => {
    world.advanceClock(500)
    return Math.max(...waits()) > 15_000
  })
  expect(uploadCalls(world).length).toBeLessThanOrEqual(5 * 4)
  expect(await world.predictionCount()).toBe(6)
})

test('an image that alone cannot be stored delays no other', async () => {
  const sizes: unknown[] = []
  await using world = await openWorld({
    images: true,
    fault(call) {
      if (isTicketRequest(call)) sizes.push((call.body as { size: number }).size)
      // The file that is put belongs to the last ticket.
      return isPut(call) && sizes.at(-1) === 1000 ? reply(400, '') : null
    },
  })
  await submitUpload(world, (await uploadImage(world.harness, png(1000))).id)
  const failures = () => world.log.filter(({ message }) => message.includes('could not be transferred'))
  for (let n = 1; n <= 4; n++) {
    await until(() => failures().length === n)
    world.advanceClock(60_000)
  }
  const attempts = sizes.length
  const { id } = await submitUpload(world, (await uploadImage(world.harness, png(2000))).id)
  await world.untilStatus(id, 'COMPLETED')
  expect(sizes.slice(attempts)).toContain(2000)
})

test('a gateway that dies during a transfer neither loses the job nor sends it twice', async () => {
  let isDying = true
  await using world = await openWorld({
    images: true,
    fault: call => (isDying && isPut(call) ? { late: 'before', ms: 60_000 } : null),
  })
  const { id } = await submitUpload(world, (await uploadImage(world.harness)).id)
  await until(() => putCalls(world).length === 1)
  const closed = world.harness.restart()
  isDying = false
  await closed
  await world.untilStatus(id, 'COMPLETED')
  expect([putCalls(world).length, world.submits().length]).toEqual([2, 1])
}, 20_000)

test('an unanswered POST is found in the list by its upstream image URL', async () => {
  await using world = await openWorld({
    env: { UPSTREAM_SUBMIT_TIMEOUT_MS: '2000' },
    fault: call => (call.path.startsWith('/alibaba') ? { cut: 'after' } : null),
    isClockFrozen: false,
  })
  const { id, prompt } = await submitUpload(world, (await uploadImage(world.harness)).id)
  await until(() => world.log.some(({ message }) => message.includes('outcome is unknown')))
  await world.fastForwardToStatus(id, 'COMPLETED')
  expect(world.submits()).toHaveLength(1)
  const { image } = world.submits()[0]!.body as { image: string }
  expect((await world.job(prompt)).upstreamImageUrl).toBe(image)
})

test('the API key is sent with the ticket request only; the PUT carries only the ticket’s headers', async () => {
  const requests: IncomingMessage[] = []
  const store = createServer(async (request, response) => {
    requests.push(request)
    await buffer(request)
    response.end()
  })
  await using host = await listen(store)
  await using world = await openWorld({
    fault: call =>
      isTicketRequest(call)
        ? dataReply({
            download_url: `${host.origin}/image`,
            upload: {
              method: 'PUT',
              url: `${host.origin}/put?s=1`,
              headers: { 'X-Of-Ticket': 'a', authorization: 'b' },
            },
          })
        : null,
  })
  const { id } = await submitUpload(world, (await uploadImage(world.harness)).id)
  await world.untilStatus(id, 'COMPLETED')
  const [put] = requests
  expect([put!.method, put!.url]).toEqual(['PUT', '/put?s=1'])
  const { host: _, connection: __, ...headers } = put!.headers
  expect(headers).toEqual({ 'x-of-ticket': 'a', 'content-length': `${JPEG.length}` })
})
