import { once } from 'node:events'
import { readdirSync, statSync } from 'node:fs'
import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { createServer, type IncomingHttpHeaders } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { BufferSource, Input, MP4 } from 'mediabunny'
import { Agent, FormData, fetch, type RequestInit } from 'undici'
import { afterAll, describe, expect, test, vi } from 'vitest'
import { Client } from 'wavespeed'
import { READ_FAULTS, SUBMIT_FAULTS } from '../../src/simulator/fault-kinds.ts'
import { createFaultPlan, type FaultPlanOptions } from '../../src/simulator/fault-plan.ts'
import { createSeededRandom } from '../../src/simulator/seeded-random.ts'
import {
  type ApiCall,
  createSimulator,
  type SimulatorOptions,
  type WebhookFault,
} from '../../src/simulator/simulator.ts'
import { signWebhook } from '../../src/simulator/webhook-signer.ts'
import { queryDatabaseFile } from '../support/database-file.ts'
import { run } from '../support/process.ts'
import { until } from '../support/until.ts'
import { JPEG } from '../support/upload.ts'

const KEY = 'a key of its own'
const MODEL = 'alibaba/wan-2.2/i2v-plus-1080p'
const OTHER_MODEL = 'alibaba/wan-2.2/i2v-plus-480p'
const DAY = 24 * 60 * 60 * 1000

// Each connection ends with its request.
const dispatcher = new Agent({ pipelining: 0 })
afterAll(() => dispatcher.destroy())

interface Answer {
  status: number
  code: number
  // biome-ignore lint/suspicious/noExplicitAny: each call has its own shape
  data: any
}

async function start(options: Partial<SimulatorOptions> = {}) {
  const simulator = await createSimulator({ file: ':memory:', key: KEY, ...options })
  const get = (url: string, init: RequestInit = {}) => fetch(url, { dispatcher, ...init })
  async function call(method: string, path: string, body?: unknown, key = KEY): Promise<Answer> {
    const response = await get(`${simulator.origin}/api/v3${path}`, {
      method,
      headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
      ...(body !== undefined && { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    })
    const { code, data } = (await response.json()) as Answer
    return { status: response.status, code, data }
  }
  return {
    ...simulator,
    get,
    call,
    submit: (fields: object = {}, model = MODEL) =>
      call('POST', `/${model}`, { image: simulator.sampleImage, prompt: 'a slow pan', ...fields }),
    /** A job that ends at once, unless the prompt says otherwise. */
    submitFor: (webhook: string, prompt = 'sim:seconds=0') =>
      call('POST', `/${MODEL}?webhook=${encodeURIComponent(webhook)}`, {
        image: simulator.sampleImage,
        prompt,
      }),
    result: async (id: string) => (await call('GET', `/predictions/${id}/result`)).data,
    list: (fields: object = {}) => call('POST', '/predictions', { page: 1, page_size: 100, ...fields }),
    [Symbol.asyncDispose]: simulator.close,
  }
}

async function folder() {
  const path = await mkdtemp(join(tmpdir(), 'rushes-simulator-'))
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) }
}

/** A server that receives webhooks: answers with `statuses` in order, then with 204. 0: no answer. */
async function listenForWebhooks(...statuses: number[]) {
  const requests: { url: string; headers: IncomingHttpHeaders; body: string }[] = []
  const server = createServer(async (request, response) => {
    const { url = '', headers } = request
    requests.push({ url, headers, body: await text(request) })
    const status = statuses.shift() ?? 204
    if (status !== 0) response.writeHead(status).end()
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`,
    requests,
    [Symbol.asyncDispose]: async () => {
      server.close()
      server.closeAllConnections()
    },
  }
}

describe('the API', () => {
  test('refuses calls without its key', async () => {
    await using simulator = await start()
    for (const key of ['', 'another', `${KEY}x`, `x ${KEY}`]) {
      for (const [method, path] of [
        ['POST', `/${MODEL}`],
        ['POST', '/predictions'],
        ['GET', '/predictions/x/result'],
      ] as const)
        expect(await simulator.call(method, path, method === 'POST' ? {} : undefined, key)).toEqual({
          status: 401,
          code: 401,
          data: null,
        })
    }
    const bare = await simulator.get(`${simulator.origin}/api/v3/predictions`, { method: 'POST' })
    expect(bare.status).toBe(401)
    await bare.text()
    expect(simulator.calls).toEqual([])
  })

  test.each<[what: string, fields: object | string]>([
    ['without an image', { image: undefined }],
    ['with an empty image', { image: '' }],
    ['with an image that is not a URL', { image: 'cat.png' }],
    ['with an image that is not a string', { image: ['https://images.example/cat.png'] }],
    ['without a prompt', { prompt: undefined }],
    ['with an empty prompt', { prompt: '' }],
    ['with a prompt that is not a string', { prompt: 7 }],
    ['of 7 seconds', { duration: 7 }],
    ['of "5" seconds', { duration: '5' }],
    ['with a seed below -1', { seed: -2 }],
    ['with a seed of 32 bits', { seed: 2_147_483_648 }],
    ['with a seed that is not an integer', { seed: 0.5 }],
    ['with a negative prompt that is not a string', { negative_prompt: 7 }],
    ['with an expansion that is not a boolean', { enable_prompt_expansion: 'true' }],
  ])('refuses a job %s', async (_, fields) => {
    await using simulator = await start()
    expect(await simulator.submit(fields as object)).toEqual({ status: 400, code: 400, data: null })
    expect((await simulator.list()).data.items).toEqual([])
  })

  test.each(['{', '[]', '"x"', 'null', ''])('refuses the body %j', async body => {
    await using simulator = await start()
    expect(await simulator.call('POST', `/${MODEL}`, body)).toMatchObject({ status: 400, code: 400 })
  })

  test.each([`${MODEL}x`, 'alibaba/wan-2.2', encodeURIComponent(MODEL), 'predictions/x'])(
    'knows no model %s',
    async model => {
      await using simulator = await start()
      expect(await simulator.submit({}, model)).toEqual({ status: 404, code: 404, data: null })
      expect((await simulator.list()).data.items).toEqual([])
    },
  )

  test('answers 404 for a prediction that it did not create', async () => {
    await using simulator = await start()
    const { data } = await simulator.submit()
    for (const path of [`/predictions/${'f'.repeat(32)}/result`, `/predictions/${data.id}`])
      expect(await simulator.call('GET', path)).toEqual({ status: 404, code: 404, data: null })
  })

  test('answers a submit with a prediction in the form of the upstream contract', async () => {
    await using simulator = await start()
    for (const model of [MODEL, OTHER_MODEL]) {
      const { status, code, data } = await simulator.submit({}, model)
      expect([status, code]).toEqual([200, 200])
      expect(data).toEqual({
        id: expect.stringMatching(/^[0-9a-f]{32}$/),
        model,
        outputs: [],
        urls: { get: `${simulator.origin}/api/v3/predictions/${data.id}/result` },
        has_nsfw_contents: [],
        status: 'created',
        created_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$/),
        error: '',
        executionTime: 0,
        timings: { inference: 0 },
      })
      expect(Math.abs(Date.parse(data.created_at) - Date.now())).toBeLessThan(5000)
    }
  })

  test('silently ignores unknown body keys, and runs the job with the defaults', async () => {
    await using home = await folder()
    const file = join(home.path, 'simulator.db')
    await using simulator = await start({ file })
    const { code, data } = await simulator.submit({
      negativePrompt: 'blur',
      durration: 7,
      enablePromptExpansion: true,
      sed: 9,
      size: '480p',
    })
    expect(code).toBe(200)
    const job = queryDatabaseFile(file, db =>
      db.prepare('select job from jobs where id = ?').pluck().get(data.id),
    )
    expect(JSON.parse(job as string).input).toEqual({
      image: simulator.sampleImage,
      prompt: 'a slow pan',
      negative_prompt: '',
      duration: 5,
      enable_prompt_expansion: false,
      seed: -1,
    })
    simulator.advance(DAY)
    expect((await simulator.result(data.id)).status).toBe('completed')
  })

  test('records every call with the key, in order', async () => {
    await using simulator = await start()
    const { data } = await simulator.submit({ seed: 3 })
    await simulator.result(data.id)
    await simulator.list()
    expect(simulator.calls).toEqual([
      {
        method: 'POST',
        path: `/${MODEL}`,
        body: { image: simulator.sampleImage, prompt: 'a slow pan', seed: 3 },
      },
      { method: 'GET', path: `/predictions/${data.id}/result`, body: undefined },
      { method: 'POST', path: '/predictions', body: { page: 1, page_size: 100 } },
    ])
  })
})

describe('a job', () => {
  test('is created, then processing, then completed, as time passes', async () => {
    await using simulator = await start()
    const { data } = await simulator.submit({ prompt: 'sim:seconds=60' })
    const met: string[] = []
    for (let second = 0; second < 65; second += 5) {
      const { status, outputs } = await simulator.result(data.id)
      met.push(status)
      expect(outputs).toHaveLength(status === 'completed' ? 1 : 0)
      simulator.advance(5000)
    }
    expect(met).toEqual([...Array(2).fill('created'), ...Array(10).fill('processing'), 'completed'])
    expect(await simulator.result(data.id)).toMatchObject({
      status: 'completed',
      outputs: [`${simulator.origin}/files/${data.id}.mp4`],
      has_nsfw_contents: [false],
      error: '',
      executionTime: 50_000,
      timings: { inference: 50_000 },
    })
  })

  test('takes 6 to 10 seconds by default', async () => {
    await using simulator = await start()
    const { data } = await simulator.submit()
    simulator.advance(5500)
    expect((await simulator.result(data.id)).status).toBe('processing')
    simulator.advance(5500)
    expect((await simulator.result(data.id)).status).toBe('completed')
  })

  test('accepts fractions of a second', async () => {
    await using simulator = await start()
    const { data } = await simulator.submit({ prompt: 'a slow pan sim:seconds=60.9, then a close-up' })
    simulator.advance(60_200)
    expect((await simulator.result(data.id)).status).toBe('processing')
    simulator.advance(1000)
    expect((await simulator.result(data.id)).status).toBe('completed')
  })

  test.each<[word: string, end: object]>([
    [
      'sim:fail=1200',
      { status: 'failed', code: 1200, outputs: [], error: expect.stringMatching(/./), has_nsfw_contents: [] },
    ],
    ['sim:fail=5004', { status: 'failed', code: 5004, outputs: [] }],
    ['sim:end=failed', { status: 'failed', outputs: [] }],
    ['sim:end=timeout', { status: 'timeout', outputs: [] }],
    ['sim:end=cancelled', { status: 'cancelled', outputs: [] }],
    ['sim:end=sparkling', { status: 'sparkling', outputs: [] }],
    ['sim:empty', { status: 'completed', outputs: [], has_nsfw_contents: [] }],
    ['sim:nsfw', { status: 'completed', has_nsfw_contents: [true] }],
  ])('follows the directive %s in its prompt', async (word, end) => {
    await using simulator = await start()
    const { data } = await simulator.submit({ prompt: `a slow pan, ${word} sim:seconds=10` })
    simulator.advance(9000)
    expect(await simulator.result(data.id)).toMatchObject({ status: 'processing', error: '', outputs: [] })
    simulator.advance(2000)
    const { code, data: ended } = await simulator.call('GET', `/predictions/${data.id}/result`)
    expect(code).toBe(200)
    expect(ended).toMatchObject(end)
  })

  test('is deleted after seven days', async () => {
    await using simulator = await start()
    const { data } = await simulator.submit({ prompt: 'sim:seconds=1' })
    simulator.advance(7 * DAY - 60_000)
    expect((await simulator.result(data.id)).status).toBe('completed')
    simulator.advance(120_000)
    expect(await simulator.result(data.id)).toBeNull()
    expect((await simulator.list()).data.items).toEqual([])
  })
})

describe('the list', () => {
  // biome-ignore lint/suspicious/noExplicitAny: predictions as upstream writes them
  const ids = ({ data }: Answer) => data.items.map((item: any) => item.id)

  test('is paginated, newest first, and ends with a short page', async () => {
    await using simulator = await start()
    const made: string[] = []
    for (let n = 0; n < 5; n++) {
      made.push((await simulator.submit()).data.id)
      simulator.advance(1000)
    }
    made.reverse()
    const pages = []
    for (const page of [1, 2, 3, 4]) pages.push(await simulator.list({ page, page_size: 2 }))
    expect(pages.map(ids)).toEqual([made.slice(0, 2), made.slice(2, 4), made.slice(4), []])
    expect(pages.map(({ code, data }) => [code, data.page])).toEqual([1, 2, 3, 4].map(page => [200, page]))
    expect(ids(await simulator.list())).toEqual(made)
  })

  test.each([
    { page: 0 },
    { page: undefined },
    { page: 1.5 },
    { page: '1' },
    { page_size: 0 },
    { page_size: 101 },
    { page_size: undefined },
  ])('refuses %j', async fields => {
    await using simulator = await start()
    expect(await simulator.list(fields)).toEqual({ status: 400, code: 400, data: null })
  })

  test('is filtered by model', async () => {
    await using simulator = await start()
    const one = (await simulator.submit({}, MODEL)).data.id
    const other = (await simulator.submit({}, OTHER_MODEL)).data.id
    expect(ids(await simulator.list({ model: MODEL }))).toEqual([one])
    expect(ids(await simulator.list({ model: OTHER_MODEL }))).toEqual([other])
  })

  test('is filtered by status before pagination: a short page is the last one', async () => {
    await using simulator = await start()
    const completed: string[] = []
    for (let n = 0; n < 6; n++) {
      const { data } = await simulator.submit({ prompt: n % 2 ? 'sim:seconds=0' : 'sim:seconds=3600' })
      if (n % 2) completed.unshift(data.id)
      simulator.advance(1000)
    }
    const pages = [1, 2].map(page => simulator.list({ page, page_size: 2, status: 'completed' }))
    expect((await Promise.all(pages)).map(ids)).toEqual([completed.slice(0, 2), completed.slice(2)])
  })

  test('is filtered by creation time', async () => {
    await using simulator = await start()
    const made = []
    for (let n = 0; n < 3; n++) {
      made.push((await simulator.submit()).data)
      simulator.advance(60_000)
    }
    const [first, second, third] = made
    const around = (ms: number) => new Date(Date.parse(second.created_at) + ms).toISOString()
    expect(ids(await simulator.list({ created_after: around(-1000) }))).toEqual([third.id, second.id])
    expect(ids(await simulator.list({ created_before: around(1000) }))).toEqual([second.id, first.id])
  })

  test.each([
    [true, expect.objectContaining({ prompt: 'a slow pan', seed: -1 })],
    [false, undefined],
  ])('has inputs if they are listed: %s', async (listsInputs, input) => {
    await using simulator = await start({ listsInputs })
    await simulator.submit()
    expect((await simulator.list()).data.items[0].input).toEqual(input)
  })
})

describe('a webhook', () => {
  test('is signed as in the test vector of the upstream contract', () => {
    const id = '0123456789abcdef0123456789abcdef'
    const body = `{"id":"${id}","model":"alibaba/wan-2.2/i2v-plus-1080p","outputs":["https://example.test/o.mp4"],"status":"completed","error":""}`
    expect(signWebhook('whsec_dGVzdC1zZWNyZXQtbm90LXJlYWw=', id, 1_760_000_000_999, body)).toEqual({
      'content-type': 'application/json',
      'webhook-id': id,
      'webhook-timestamp': '1760000000',
      'webhook-signature': 'v3,1e320f269b5207f6fc35dd1260e888573b94622f0f6d82fc7b649ddffd45bbf6',
    })
  })

  test('contains the bare prediction, and is sent to its URL with its query once the job has ended', async () => {
    await using receiver = await listenForWebhooks()
    await using simulator = await start({ webhookSecret: 'whsec_mine' })
    const address = `${receiver.url}?p=a%20b&q=c+d`
    const { data } = await simulator.submitFor(address, 'sim:seconds=60')
    simulator.advance(59_000)
    expect(simulator.calls.map(call => call.webhook)).toEqual([address])
    await simulator.result(data.id)
    expect(receiver.requests).toEqual([])
    simulator.advance(2000)
    await until(() => simulator.webhooks.length > 0)
    const [{ url, headers, body }] = receiver.requests as [(typeof receiver.requests)[0]]
    expect(url).toBe('/hook?p=a%20b&q=c+d')
    expect(JSON.parse(body)).toEqual(await simulator.result(data.id))
    const sentAt = Number(headers['webhook-timestamp']) * 1000
    expect(Math.abs(sentAt - 61_000 - Date.now())).toBeLessThan(5000)
    expect(headers).toMatchObject(signWebhook('whsec_mine', data.id, sentAt, body))
    expect(simulator.webhooks).toEqual([{ id: data.id, url: address, status: 204 }])
    simulator.advance(DAY)
    await simulator.result(data.id)
    expect(receiver.requests).toHaveLength(1)
  })

  test('has a secret that a call with the key can read', async () => {
    await using simulator = await start()
    const { data } = await simulator.call('GET', '/webhook/secret')
    expect(data).toEqual({ secret: simulator.webhookSecret })
  })

  test('is sent for completed and failed jobs, and for no other final status', async () => {
    await using receiver = await listenForWebhooks()
    await using simulator = await start()
    const ends = ['sim:end=cancelled', 'sim:end=timeout', 'sim:fail=1200', 'sim:empty', 'sim:seconds=0']
    for (const end of ends) await simulator.submitFor(receiver.url, `${end} sim:seconds=0`)
    await until(() => simulator.webhooks.length === 3)
    simulator.advance(DAY)
    await simulator.list()
    expect(receiver.requests.map(({ body }) => JSON.parse(body).status).sort()).toEqual([
      'completed',
      'completed',
      'failed',
    ])
  })

  test('is sent again up to three times if not answered 2xx, under the same id', async () => {
    await using receiver = await listenForWebhooks(500, 302, 404, 503)
    await using simulator = await start()
    const { data } = await simulator.submitFor(receiver.url)
    for (let sent = 1; sent <= 4; sent++) {
      await until(() => simulator.webhooks.length === sent)
      simulator.advance(10_000)
    }
    await simulator.list()
    expect(receiver.requests.map(({ headers }) => headers['webhook-id'])).toEqual(Array(4).fill(data.id))
    expect(simulator.webhooks.map(({ status }) => status)).toEqual([500, 302, 404, 503])
  })

  test('is not sent again after a 2xx answer', async () => {
    await using receiver = await listenForWebhooks(500)
    await using simulator = await start()
    await simulator.submitFor(receiver.url)
    for (const sent of [1, 2]) {
      await until(() => simulator.webhooks.length === sent)
      simulator.advance(10_000)
    }
    await simulator.list()
    expect(receiver.requests).toHaveLength(2)
  })

  test('is sent again if its receiver is unreachable', async () => {
    const receiver = await listenForWebhooks()
    await receiver[Symbol.asyncDispose]()
    await using simulator = await start()
    await simulator.submitFor(receiver.url)
    for (const sent of [1, 2]) {
      await until(() => simulator.webhooks.length === sent)
      simulator.advance(10_000)
    }
    expect(simulator.webhooks.map(({ status }) => status)).toEqual([null, null])
  })

  test('that is pending or in flight at a stop is sent after the restart', async () => {
    await using home = await folder()
    await using receiver = await listenForWebhooks(0)
    const file = join(home.path, 'simulator.db')
    const first = await start({ file })
    const { data: hanging } = await first.submitFor(receiver.url)
    const { data: later } = await first.submitFor(receiver.url, 'sim:seconds=3600')
    await until(() => receiver.requests.length === 1)
    await first.close()
    await using second = await start({ file })
    await until(() => second.webhooks.length === 1)
    second.advance(3_600_000)
    await until(() => second.webhooks.length === 2)
    expect(second.webhooks.map(({ id }) => id)).toEqual([hanging.id, later.id])
  })

  test.each(['', 'x', 'ftp://a.example/'])('to %j is refused together with its job', async address => {
    await using simulator = await start()
    expect(await simulator.submitFor(address)).toEqual({ status: 400, code: 400, data: null })
  })

  test('that is pending does not keep the process alive', async () => {
    await using home = await folder()
    await using process = run('simulator/main.ts', home.path, {}, [
      '--port',
      '0',
      '--webhook-secret',
      'whsec_x',
    ])
    const [, origin] = await process.untilPrinted(/listens on (\S+)\/api\/v3/)
    const ask = async (path: string, body?: object) => {
      const answer = await fetch(`${origin}/api/v3${path}`, {
        dispatcher,
        ...(body && { method: 'POST', body: JSON.stringify(body) }),
        headers: { authorization: 'Bearer simulator' },
      })
      return ((await answer.json()) as Answer).data
    }
    expect(await ask('/webhook/secret')).toEqual({ secret: 'whsec_x' })
    const input = { image: 'https://a.example/x.png', prompt: 'sim:seconds=3600' }
    await ask(`/${MODEL}?webhook=http://127.0.0.1:9/`, input)
    process.child.kill('SIGTERM')
    expect((await process.untilEnded()).code).toBe(0)
  })
})

describe('an account', () => {
  /** The Retry-After of a submit that is refused; false if it is accepted. */
  async function retryAfterOf(simulator: Awaited<ReturnType<typeof start>>) {
    const response = await simulator.get(`${simulator.origin}/api/v3/${MODEL}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${KEY}` },
      body: JSON.stringify({ image: simulator.sampleImage, prompt: 'x' }),
    })
    expect(await response.json()).toMatchObject({ code: response.status })
    return response.status === 429 && Number(response.headers.get('retry-after'))
  }

  test('runs no more concurrent videos than its limit', async () => {
    await using simulator = await start({ concurrency: 2 })
    await simulator.submit({ prompt: 'sim:seconds=60' })
    await simulator.submit({ prompt: 'sim:seconds=20' })
    expect(await retryAfterOf(simulator)).toBeGreaterThan(18)
    expect((await simulator.list()).data.items).toHaveLength(2)
    simulator.advance(20_000)
    expect(await retryAfterOf(simulator)).toBe(false)
    expect(await retryAfterOf(simulator)).toBeLessThan(11)
  })

  test('accepts no more submits per minute than its limit', async () => {
    await using simulator = await start({ perMinute: 2 })
    await simulator.submit({ prompt: 'sim:seconds=0' })
    simulator.advance(30_000)
    await simulator.submit({ prompt: 'sim:seconds=0' })
    const wait = await retryAfterOf(simulator)
    expect([wait, wait]).toEqual([expect.any(Number), expect.closeTo(29, -1)])
    simulator.advance(30_000)
    expect(await retryAfterOf(simulator)).toBe(false)
    expect(await retryAfterOf(simulator)).toBeGreaterThan(0)
  })
})

describe('a fault', () => {
  const whenItEnds = { prompt: 'sim:seconds=0.1' }

  test.each(Object.entries(SUBMIT_FAULTS))('"%s" on a submit has its certain outcome', async (name, kind) => {
    await using receiver = await listenForWebhooks()
    let drawn = false
    await using simulator = await start({
      fault({ path }) {
        if (drawn || path !== `/${MODEL}`) return null
        drawn = true
        return kind.make(createSeededRandom(3))
      },
    })
    const answer = await simulator
      .get(`${simulator.origin}/api/v3/${MODEL}?webhook=${receiver.url}`, {
        method: 'POST',
        headers: { authorization: `Bearer ${KEY}` },
        body: JSON.stringify({ image: simulator.sampleImage, ...whenItEnds }),
        signal: AbortSignal.timeout(500),
        redirect: 'manual',
      })
      .then(async response => ({ status: response.status, body: await response.text() }))
      .catch(() => null)
    if (kind.certainOutcome === 'accepted') expect(JSON.parse(answer!.body).data.id).toMatch(/^[0-9a-f]{32}$/)
    if (kind.certainOutcome === 'refused') expect(answer!.status).toBe(429)
    if (name === 'answered after its webhook')
      expect([answer!.status, receiver.requests.length]).toEqual([200, 1])
    const jobs = async () => (await simulator.list()).data.items.length
    // The job is created although the client has hung up.
    if (name === 'slow before') await until(async () => (await jobs()) === 1)
    else expect(await jobs()).toBe(/before|429/.test(name) ? 0 : 1)
  })

  test.each(Object.entries(READ_FAULTS))('"%s" on a read reports no false final status', async (_, kind) => {
    let wrong = false
    await using simulator = await start({ fault: () => (wrong ? kind.make(createSeededRandom(3)) : null) })
    const { data } = await simulator.submit({ prompt: 'sim:seconds=0 sim:fail=1200' })
    wrong = true
    const get = (path: string, body?: object) =>
      simulator
        .get(`${simulator.origin}/api/v3${path}`, {
          headers: { authorization: `Bearer ${KEY}` },
          ...(body && { method: 'POST', body: JSON.stringify(body) }),
          signal: AbortSignal.timeout(300),
        })
        .then(async response => response.ok && JSON.parse(await response.text()).data)
        .catch(() => null)
    const seen = await get(`/predictions/${data.id}/result`)
    if (seen) expect(seen).toMatchObject({ id: data.id, outputs: [], code: 1200 })
    if (seen) expect(['completed', 'timeout', 'cancelled']).not.toContain(seen.status)
    const list = await get('/predictions', { page: 1, page_size: 100 })
    if (list) expect(list.items.every(({ id }: { id: string }) => id === data.id)).toBe(true)
  })

  const CALLS: ApiCall[] = [
    { method: 'POST', path: `/${MODEL}`, body: {} },
    { method: 'GET', path: '/predictions/a/result', body: undefined },
    { method: 'POST', path: '/predictions', body: {} },
    { method: 'GET', path: '/balance', body: undefined },
  ]
  /** The kinds that a plan draws for each call, over `rounds` rounds of all calls. */
  function drawFaults(rounds: number, options: Partial<FaultPlanOptions> = {}, calls = CALLS): string[][] {
    const drawnKinds = calls.map((): string[] => [])
    let callIndex = 0
    const plan = createFaultPlan({ seed: 5, onFault: kind => drawnKinds[callIndex]!.push(kind), ...options })
    for (let round = 0; round < rounds; round++)
      for (callIndex = 0; callIndex < calls.length; callIndex++)
        if (plan.fault(calls[callIndex]!) === null) drawnKinds[callIndex]!.push('none')
    return drawnKinds
  }

  test('is drawn by the seed, the class of the call and its number, whatever other calls come between', () => {
    const full = drawFaults(300)
    expect(drawFaults(300)).toEqual(full)
    expect(drawFaults(300, { seed: 6 })).not.toEqual(full)
    for (const [i, call] of CALLS.entries()) expect(drawFaults(300, {}, [call])).toEqual([full[i]])
  })

  test('has the configured frequency, and every kind with a weight occurs', () => {
    expect(new Set(drawFaults(200, { submits: 0, reads: 0 }).flat())).toEqual(new Set(['none']))
    const met = drawFaults(2000, { submits: 1, reads: 0.5, weights: { '429 bare': 0 } })
    const kinds = Object.keys(SUBMIT_FAULTS).filter(name => name !== '429 bare')
    expect(new Set(met[0])).toEqual(new Set(kinds))
    const share = met[1]!.filter(kind => kind !== 'none').length / met[1]!.length
    expect(share).toBeCloseTo(0.5, 1)
    expect(met.flat().filter(kind => kind.endsWith('429 bare'))).toEqual([])
    expect(met[1]!.filter(kind => kind === 'poll: no outputs yet')).toHaveLength(1)
    expect(new Set(met[2])).toContain('list: no inputs')
    expect(met[1]).not.toContain('poll: no inputs')
  })

  test('"not found yet" happens only to the first three polls of a job', () => {
    const polls = Array.from({ length: 400 }, (_, i) => ({ ...CALLS[1]!, path: `/predictions/${i}/result` }))
    const met = drawFaults(6, { reads: 1 }, polls).map(kinds => kinds.lastIndexOf('poll: not found yet'))
    expect(Math.max(...met)).toBe(2)
  })

  test('of a webhook loses it, sends it twice or delays it', async () => {
    await using receiver = await listenForWebhooks()
    const faults: [string, WebhookFault][] = [
      ['twice', 'doubled'],
      ['never', 'lost'],
      ['late', { delayMs: 60_000 }],
    ]
    await using simulator = await start({
      webhookFault: ({ url }) => faults.find(([name]) => url.endsWith(name))?.[1] ?? null,
    })
    for (const [name] of faults) await simulator.submitFor(`${receiver.url}/${name}`)
    await simulator.submitFor(`${receiver.url}/once`)
    await until(() => simulator.webhooks.length === 3)
    simulator.advance(61_000)
    await until(() => simulator.webhooks.length === 4)
    expect(receiver.requests.map(({ url }) => url.split('/').at(-1)).sort()).toEqual([
      'late',
      'once',
      'twice',
      'twice',
    ])
    expect(receiver.requests.at(-1)!.url).toMatch(/late$/)
  })

  test('of a webhook is drawn by the seed', () => {
    const draw = (seed: number) => {
      const { webhookFault } = createFaultPlan({ seed, webhooks: 0.5 })
      return Array.from({ length: 200 }, () => webhookFault({ id: 'x', url: 'x', tries: 0 }))
    }
    expect(draw(1)).toEqual(draw(1))
    expect(draw(1)).not.toEqual(draw(2))
    expect(draw(1)).toEqual(
      expect.arrayContaining(['lost', 'doubled', { delayMs: expect.any(Number) }, null]),
    )
  })
})

describe('a file', () => {
  async function finished(simulator: Awaited<ReturnType<typeof start>>): Promise<string> {
    const { data } = await simulator.submit({ prompt: 'sim:seconds=10' })
    simulator.advance(11_000)
    return (await simulator.result(data.id)).outputs[0]
  }

  test('of a finished job is an MP4 that pages of any origin can load without the key', async () => {
    await using simulator = await start()
    const response = await simulator.get(await finished(simulator), {
      headers: { origin: 'https://app.example' },
    })
    expect(response.status).toBe(200)
    expect(response.headers.get('content-type')).toBe('video/mp4')
    expect(response.headers.get('accept-ranges')).toBe('bytes')
    expect(response.headers.get('access-control-allow-origin')).toBe('*')
    const bytes = await response.bytes()
    expect(response.headers.get('content-length')).toBe(`${bytes.length}`)
  })

  test('is served in ranges', async () => {
    await using simulator = await start()
    const url = await finished(simulator)
    const full = await (await simulator.get(url)).bytes()
    const part = await simulator.get(url, { headers: { range: 'bytes=100-199' } })
    expect(part.status).toBe(206)
    expect(part.headers.get('content-range')).toBe(`bytes 100-199/${full.length}`)
    expect(part.headers.get('access-control-allow-origin')).toBe('*')
    expect(Buffer.from(await part.bytes()).equals(full.subarray(100, 200))).toBe(true)
    const beyond = await simulator.get(url, { headers: { range: `bytes=${full.length}-` } })
    expect(beyond.status).toBe(416)
    await beyond.text()
  })

  test('is a video of five seconds, 1920 × 1080, that starts to play before it is loaded', async () => {
    await using simulator = await start()
    const bytes = await (await simulator.get(await finished(simulator))).bytes()
    using video = new Input({ source: new BufferSource(bytes), formats: [MP4] })
    expect(await video.canRead()).toBe(true)
    expect(await video.computeDuration()).toBeCloseTo(5, 1)
    const track = (await video.getPrimaryVideoTrack())!
    expect([await track.getDisplayWidth(), await track.getDisplayHeight()]).toEqual([1920, 1080])
    expect(await track.getCodec()).toBe('avc')
    expect(await track.computeDuration()).toBeCloseTo(5, 1)
    const { packetCount } = await track.computePacketStats()
    expect(packetCount).toBeGreaterThanOrEqual(5 * 10)
    // The index is before the media, so a browser starts before it has the whole file.
    const head = Buffer.from(bytes)
    expect(head.indexOf('moov')).toBeLessThan(head.indexOf('mdat'))
  })

  test('does not exist before its job has finished, nor for a failed job', async () => {
    await using simulator = await start()
    const { data: running } = await simulator.submit({ prompt: 'sim:seconds=3600' })
    const { data: failed } = await simulator.submit({ prompt: 'sim:seconds=0 sim:fail=1200' })
    for (const name of [running.id, failed.id, 'f'.repeat(32), '..%2fsample', 'sample']) {
      const response = await simulator.get(`${simulator.origin}/files/${name}.mp4`)
      expect([response.status, await response.json()]).toMatchObject([404, { code: 404 }])
    }
  })

  test('is kept for seven days', async () => {
    await using simulator = await start()
    const url = await finished(simulator)
    simulator.advance(7 * DAY - 60_000)
    expect((await simulator.get(url, { method: 'HEAD' })).status).toBe(200)
    simulator.advance(120_000)
    expect((await simulator.get(url, { method: 'HEAD' })).status).toBe(404)
  })

  test('of the sample image is a JPEG', async () => {
    await using simulator = await start()
    const response = await simulator.get(simulator.sampleImage)
    expect(response.headers.get('content-type')).toBe('image/jpeg')
    expect([...(await response.bytes()).subarray(0, 3)]).toEqual([0xff, 0xd8, 0xff])
  })
})

describe('an upload', () => {
  const HEADERS = { 'content-type': 'image/jpeg' }
  async function ticket(simulator: Awaited<ReturnType<typeof start>>, asked: object = {}) {
    const { code, data } = await simulator.call('POST', '/media/uploads', {
      filename: 'cat.jpg',
      size: JPEG.length,
      content_type: 'image/jpeg',
      ...asked,
    })
    const put = async (more: object = {}, body = JPEG) => {
      const headers = { ...data.upload.headers, ...more }
      const answer = await simulator.get(data.upload.url, { method: 'PUT', headers, body })
      await answer.bytes()
      return answer.status
    }
    return { code, put, ...data }
  }

  test('takes a ticket and a PUT, and is kept for seven days', async () => {
    await using simulator = await start()
    const { put, download_url: url, upload } = await ticket(simulator)
    expect(upload).toMatchObject({ method: 'PUT', headers: HEADERS })
    expect(Date.parse(upload.expires_at)).toBeGreaterThan(Date.now())
    const at = async () => {
      const answer = await simulator.get(url)
      return [answer.status, Buffer.from(await answer.arrayBuffer()).equals(JPEG)]
    }
    expect(await at()).toEqual([404, false])
    expect(await put()).toBe(200)
    expect(await at()).toEqual([200, true])
    simulator.advance(7 * DAY - 60_000)
    expect(await at()).toEqual([200, true])
    simulator.advance(60_000)
    expect(await at()).toEqual([404, false])
  })

  test.each([
    ['the key', { authorization: `Bearer ${KEY}` }],
    ['another type', { 'content-type': 'image/png' }],
    ['a header more', { 'x-more': '1' }],
    ['another token', { 'x-upload-token': 'x' }],
  ])('is refused with %s', async (_, more) => {
    await using simulator = await start()
    const { put } = await ticket(simulator)
    expect(await put(more)).toBeGreaterThanOrEqual(400)
    expect(await put()).toBe(200)
  })

  test('is refused with another length, or after its ticket has expired', async () => {
    await using simulator = await start()
    const { put } = await ticket(simulator)
    expect(await put({}, JPEG.subarray(1))).toBe(400)
    simulator.advance(15 * 60_000)
    expect(await put()).toBe(403)
  })

  test.each([{ filename: '' }, { size: 0 }, { size: 'x' }, { size: 101 * 1024 * 1024 }])(
    'has no ticket for %j',
    async asked => {
      await using simulator = await start()
      const { code } = await simulator.call('POST', '/media/uploads', { filename: 'a', size: 1, ...asked })
      expect([400, 413]).toContain(code)
    },
  )

  test('can be a form, too', async () => {
    await using simulator = await start()
    const send = async (name: string) => {
      const body = new FormData()
      body.set(name, new File([JPEG], 'cat.jpg', { type: 'image/jpeg' }))
      const answer = await simulator.get(`${simulator.origin}/api/v3/media/upload/binary`, {
        method: 'POST',
        headers: { authorization: `Bearer ${KEY}` },
        body,
      })
      return (await answer.json()) as Answer
    }
    const { data } = await send('file')
    expect(data).toMatchObject({ filename: 'cat.jpg', size: JPEG.length })
    const file = await simulator.get(data.download_url)
    expect(Buffer.from(await file.arrayBuffer()).equals(JPEG)).toBe(true)
    expect((await send('image')).code).toBe(400)
  })

  test('survives a restart', async () => {
    await using home = await folder()
    const file = join(home.path, 'simulator.db')
    const first = await start({ file })
    const { put, download_url: url } = await ticket(first)
    await put()
    await first.close()
    await using second = await start({ file })
    expect((await second.get(url)).status).toBe(200)
  })

  test('has the faults of reads, and a PUT that is answered 200 has arrived', async () => {
    const plan = createFaultPlan({ seed: 1, reads: 1, submits: 0 })
    const kinds = new Set<string>()
    for (let n = 0; n < 300; n++) {
      const fault = plan.fault({ method: 'PUT', path: '/media/files/a', body: undefined })
      if (fault !== null && 'status' in fault) expect(fault.status).toBeGreaterThan(400)
      kinds.add(JSON.stringify(fault))
    }
    expect(kinds.size).toBeGreaterThan(5)
  })
})

describe('a restart', () => {
  test('on the same file keeps jobs, files and port', async () => {
    await using home = await folder()
    const file = join(home.path, 'simulator.db')
    const first = await start({ file })
    const { data: done } = await first.submit({ prompt: 'sim:seconds=0' })
    const { data: running } = await first.submit({ prompt: 'sim:seconds=3600' })
    const before = [await first.result(done.id), await first.result(running.id)]
    await first.close()

    await using second = await start({ file })
    expect(second.origin).toBe(first.origin)
    expect([await second.result(done.id), await second.result(running.id)]).toEqual(before)
    expect((await second.list()).data.items).toHaveLength(2)
    const video = await second.get(before[0].outputs[0])
    expect([video.status, video.headers.get('content-type')]).toEqual([200, 'video/mp4'])
    await video.bytes()
    second.advance(3_600_000)
    expect((await second.result(running.id)).status).toBe('completed')
  })

  test('fails if its port is in use, and takes no other', async () => {
    await using home = await folder()
    const file = join(home.path, 'simulator.db')
    await using first = await start({ file })
    await expect(start({ file })).rejects.toMatchObject({ code: 'EADDRINUSE' })
    expect((await first.list()).code).toBe(200)
  })
})

describe('the official client', () => {
  const silenceConsole = () => {
    const consoles = [vi.spyOn(console, 'log'), vi.spyOn(console, 'error')]
    for (const spy of consoles) spy.mockImplementation(() => {})
    return {
      printed: () => consoles.flatMap(spy => spy.mock.calls),
      [Symbol.dispose]: () => {
        for (const spy of consoles) spy.mockRestore()
      },
    }
  }

  test('gets a video from it, unmodified', async () => {
    using quiet = silenceConsole()
    await using simulator = await start()
    const client = new Client(KEY, { baseUrl: simulator.origin })
    const input = { image: simulator.sampleImage, prompt: 'a slow pan sim:seconds=1', seed: 7 }
    const { outputs } = await client.run(MODEL, input, { pollInterval: 0.1 })
    expect(outputs).toHaveLength(1)
    const video = await simulator.get(outputs[0])
    expect([video.status, video.headers.get('content-type')]).toEqual([200, 'video/mp4'])
    await video.bytes()
    expect(simulator.calls.filter(call => call.method === 'POST')).toEqual([
      { method: 'POST', path: `/${MODEL}`, body: input },
    ])
    expect(quiet.printed()).toEqual([])
  })

  test('uploads a file, which can then be fetched', async () => {
    using quiet = silenceConsole()
    await using simulator = await start()
    const client = new Client(KEY, { baseUrl: simulator.origin })
    const url = await client.upload('src/simulator/assets/sample.jpg')
    const file = await simulator.get(url)
    expect([file.headers.get('content-type'), Buffer.from(await file.arrayBuffer())]).toEqual([
      'image/jpeg',
      JPEG,
    ])
    expect(simulator.calls.map(({ method }) => method)).toEqual(['POST', 'PUT'])
    expect(quiet.printed()).toEqual([])
  })

  test('reports a failure, a cancellation and an invalid key', async () => {
    using _quiet = silenceConsole()
    await using simulator = await start()
    const client = new Client(KEY, { baseUrl: simulator.origin })
    const run = (prompt: string, by = client) =>
      by.run(MODEL, { image: simulator.sampleImage, prompt }, { pollInterval: 0.05 })
    await expect(run('sim:seconds=0 sim:fail=1200')).rejects.toThrow('Prediction failed')
    await expect(run('sim:seconds=0 sim:end=cancelled')).rejects.toThrow('Prediction failed')
    await expect(run('x', new Client('another', { baseUrl: simulator.origin }))).rejects.toThrow('HTTP 401')
  })
})

test('its files can be read by their owner alone, also those of an earlier version', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'simulator-'))
  const file = join(folder, 'simulator.db')
  const modes = () => new Set(readdirSync(folder).map(name => statSync(join(folder, name)).mode & 0o777))
  for (let start = 0; start < 2; start++) {
    const simulator = await createSimulator({ file, key: KEY })
    expect(modes()).toEqual(new Set([0o600]))
    await simulator.close()
    await chmod(file, 0o644)
  }
  await rm(folder, { recursive: true })
})
