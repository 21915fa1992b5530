/**
 * uploadImage and what happens to an upload, as an app sees it.
 */
import { describe, expect, test } from 'vitest'
import { encodeId } from '../../src/graphql/global-id.ts'
import { clocksFrom } from '../support/clocks.ts'
import { type Harness, type HarnessOptions, startGateway } from '../support/gateway.ts'
import { mintToken, REJECT_SUBMITS } from '../support/token.ts'
import { until } from '../support/until.ts'
import {
  filePart,
  JPEG,
  multipartForm,
  png,
  requestUpload,
  sendForm,
  uploadImage,
  uploadParts,
} from '../support/upload.ts'

const HOUR = 60 * 60 * 1000
const DAY = 24 * HOUR
const UNKNOWN = encodeId('Upload', '018f0000-0000-7000-8000-000000000000')

/** A gateway that sends nothing, with a movable clock. */
async function open(options: HarnessOptions = {}) {
  let clockOffsetMs = 0
  const harness = await startGateway({
    overrides: { ...REJECT_SUBMITS, clocks: clocksFrom(() => Date.now() + clockOffsetMs) },
    ...options,
  })
  return Object.assign(harness, {
    advanceClock(ms: number) {
      clockOffsetMs += ms
    },
  })
}

const SUBMIT = `mutation ($input: SubmitVideoInput!) {
  submitVideo(input: $input) {
    ... on SubmitVideoPayload { prediction { id status input { imageUrl } } }
    ... on IdempotencyConflictError { prediction { id } }
    ... on Error { code }
  }
}`
const submit = async (harness: Harness, uploadId: string, more: object = {}, key?: string) => {
  const input = { image: { uploadId }, prompt: 'a cat', ...more }
  const { data, errors } = await harness.query(SUBMIT, { input }, key)
  if (errors) throw new Error(JSON.stringify(errors))
  return data.submitVideo
}
const NODE = `query ($id: ID!) { node(id: $id) { __typename ... on Upload { id url bytes } } }`
const node = async (harness: Harness, id: string, key?: string) =>
  (await harness.query(NODE, { id }, key)).data.node

const bmp = (width: number, height: number): Buffer => {
  const data = Buffer.alloc(70)
  data.write('BM', 0, 'latin1')
  data.writeUInt32LE(40, 14)
  data.writeInt32LE(width, 18)
  data.writeInt32LE(height, 22)
  return data
}
const webp = Buffer.concat([
  Buffer.from('RIFF\x1a\0\0\0WEBPVP8L\x0d\0\0\0\x2f\x3f\xc1\x31\0', 'latin1'),
  Buffer.alloc(16),
])

describe('uploadImage', () => {
  test.each([
    ['a JPEG', JPEG, { contentType: 'image/jpeg', width: 1280, height: 720 }],
    ['a PNG', png(2000, 31, 17), { contentType: 'image/png', width: 31, height: 17 }],
    ['a BMP whose rows run down', bmp(7, -5), { contentType: 'image/bmp', width: 7, height: 5 }],
    ['a WebP', webp, { contentType: 'image/webp', width: 320, height: 200 }],
    ['25 MB', png(25 * 1024 * 1024), { bytes: 25 * 1024 * 1024 }],
  ])('accepts %s, by its bytes', async (_, data, facts) => {
    await using harness = await open()
    const made = await uploadImage(harness, data)
    expect(made).toMatchObject({ bytes: data.length, ...facts })
    expect(made.url).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/uploads\/[\w-]{24}$/)
    expect(Date.parse(made.expiresAt) - Date.now()).toBeGreaterThan(7 * DAY - HOUR)
    const preview = await harness.fetch(new URL(made.url).pathname)
    expect(Buffer.from(await preview.arrayBuffer()).equals(data)).toBe(true)
  })

  test.each([
    ['a page', '<html><script>alert(1)</script></html>', 'expected a JPEG, PNG, WebP or BMP'],
    [
      'a drawing that may have scripts',
      '<svg xmlns="http://www.w3.org/2000/svg"/>',
      'expected a JPEG, PNG, WebP or BMP',
    ],
    ['nothing', '', 'expected a file that is not empty'],
    ['over 25 MB', png(25 * 1024 * 1024 + 1), 'expected at most 25 MB'],
    ['far over 25 MB', png(30 * 1024 * 1024), 'expected at most 25 MB'],
    [
      'an image cut off before its sides',
      JPEG.subarray(0, 20),
      'expected an image whose header has its width and height',
    ],
    [
      'a width beyond the schema’s integers',
      png(100, 2 ** 32 - 1, 1),
      'expected sides of at most 65535 pixels',
    ],
  ])('rejects %s, whatever its name and type say', async (_, data, message) => {
    await using harness = await open()
    expect(await requestUpload(harness, data)).toEqual({
      __typename: 'InvalidInputError',
      issues: [{ path: ['input', 'file'], message }],
      code: 'INVALID_INPUT',
      message: 'The input is not valid.',
      retryable: false,
    })
    expect(harness.log.filter(({ level }) => level === 'error')).toEqual([])
  })

  test('ignores the name and the declared type, however strange', async () => {
    await using harness = await open()
    const [operations, map] = uploadParts(JPEG)
    for (const [filename, type] of [
      ['../../etc/passwd', 'text/html'],
      ['cat.svg', 'image/svg+xml'],
      ['', 'application/x-nonsense'],
      ['ü\u0000.png', undefined],
    ] as const) {
      const file = { ...filePart(JPEG), filename, ...(type && { type }) }
      const answer = await sendForm(harness, multipartForm([operations!, map!, file]))
      const { data } = (await answer.json()) as { data: { uploadImage: { upload: { contentType: string } } } }
      expect(data.uploadImage.upload.contentType).toBe('image/jpeg')
    }
  })

  test('returns the same upload for the same image, within one app', async () => {
    await using harness = await open()
    const other = await harness.gateway.issueKey('other', HOUR)
    const first = await uploadImage(harness)
    harness.advanceClock(HOUR / 2)
    const again = await uploadImage(harness)
    expect([again.id, again.url]).toEqual([first.id, first.url])
    expect(Date.parse(again.expiresAt)).toBeGreaterThan(Date.parse(first.expiresAt))
    const otherUpload = await uploadImage(harness, JPEG, other)
    expect([otherUpload.id, otherUpload.url]).not.toContain(first.id)
    expect(otherUpload.url).not.toBe(first.url)
  })

  test('twenty at once above an app’s limit get a time to wait, and another app is not affected', async () => {
    const maxBytes = 1024 * 1024
    await using harness = await open({ env: { MAX_UPLOAD_BYTES_PER_APP: `${maxBytes}` } })
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => requestUpload(harness, png(100 * 1024))),
    )
    const kept = answers.filter(({ __typename }) => __typename === 'UploadImagePayload')
    expect(kept).toHaveLength(10)
    const rejected = answers.find(({ __typename }) => __typename === 'RateLimitedError')
    expect(rejected).toMatchObject({ code: 'RATE_LIMITED', retryable: true })
    // For uploads that were still being written the gateway could not say whether they stay.
    expect((await requestUpload(harness, png(100 * 1024))).retryAfterMs).toBeGreaterThan(7 * DAY - HOUR)
    const other = await harness.gateway.issueKey('other', HOUR)
    expect((await requestUpload(harness, png(), other)).__typename).toBe('UploadImagePayload')
    expect((await requestUpload(harness, png(maxBytes + 1))).issues[0].message).toBe(
      `expected at most ${maxBytes} bytes, what an app may keep`,
    )
  })

  test('expired uploads make room by themselves', async () => {
    const maxBytes = 1024 * 1024
    const env = { MAX_UPLOAD_BYTES_PER_APP: `${maxBytes}`, MAX_UPLOADS_PER_MINUTE_PER_APP: '100000' }
    await using harness = await open({ env })
    await uploadImage(harness, png(maxBytes))
    const { retryAfterMs } = await requestUpload(harness, png(maxBytes))
    harness.advanceClock(retryAfterMs)
    const key = await harness.gateway.issueKey('test', 30 * DAY)
    // A restarted gateway prunes first.
    await harness.restart()
    await until(async () => (await requestUpload(harness, png(maxBytes), key)).upload ?? null)
  })

  test.each([
    ['a text', { file: 'cat.jpg' }],
    ['null', { file: null }],
    ['nothing', {}],
    ['an object like a file', { file: { read: 'x', name: 'cat.jpg' } }],
    ['a list', { file: [1, 2, 3] }],
  ])('%s in JSON is not a file: a request error', async (_, variables) => {
    await using harness = await open()
    const { data, errors } = await harness.query(
      'mutation ($file: File!) { uploadImage(input: { file: $file }) { __typename } }',
      variables,
    )
    expect(data).toBeUndefined()
    expect(errors![0]!.message).toContain('$file')
    expect(harness.log.filter(({ level }) => level === 'error')).toEqual([])
  })

  test.each(['"cat.jpg"', 'null', '{ read: 1 }', '[]', '1'])(
    'the literal %s is not a file',
    async literal => {
      await using harness = await open()
      const { data, errors } = await harness.query(
        `mutation { uploadImage(input: { file: ${literal} }) { __typename } }`,
      )
      expect([data, errors!.length > 0]).toEqual([undefined, true])
    },
  )
})

describe('a token', () => {
  test('that may only submit gets its own upload, and submits with it', async () => {
    await using harness = await open()
    const token = await mintToken(harness, { permissions: ['SUBMIT'], tags: ['a'] })
    const made = await uploadImage(harness, png(), token)
    expect(made.url).toContain('/uploads/')
    const { prediction } = await submit(harness, made.id, {}, token)
    expect(prediction.input.imageUrl).toBe(made.url)
  })

  test('that may only read gets ForbiddenError, and its file is not read', async () => {
    await using harness = await open()
    const token = await mintToken(harness, { permissions: ['READ'] })
    expect(await requestUpload(harness, JPEG, token)).toEqual({
      __typename: 'ForbiddenError',
      code: 'FORBIDDEN',
      message: 'This token does not permit that.',
      retryable: false,
    })
    const answer = await sendForm(harness, multipartForm(uploadParts(png(20 * 1024 * 1024))), token)
    expect(answer.headers.get('connection')).toBe('close')
    expect(((await answer.json()) as { data: { uploadImage: object } }).data.uploadImage).toMatchObject({
      code: 'FORBIDDEN',
    })
  })

  test('sees the uploads of its restriction, the key sees all, and another app sees none', async () => {
    await using harness = await open()
    const tokens = {
      a: await mintToken(harness, { tags: ['a'] }),
      'a again': await mintToken(harness, { tags: ['a'] }),
      b: await mintToken(harness, { tags: ['b'] }),
      unrestricted: await mintToken(harness),
      key: harness.key,
      'other app': await harness.gateway.issueKey('other', HOUR),
    }
    const made = await uploadImage(harness, png(), tokens.a)
    const keyUpload = await uploadImage(harness, png())
    const answers: Record<string, unknown> = {}
    for (const [name, key] of Object.entries(tokens)) {
      const seen = await Promise.all([made.id, keyUpload.id].map(id => node(harness, id, key)))
      const submitted = await Promise.all([made.id, keyUpload.id].map(id => submit(harness, id, {}, key)))
      answers[name] = [seen.map(one => one !== null), submitted.map(({ code }) => code ?? 'taken')]
    }
    const [both, first, none] = [
      [
        [true, true],
        ['taken', 'taken'],
      ],
      [
        [true, false],
        ['taken', 'NOT_FOUND'],
      ],
      [
        [false, false],
        ['NOT_FOUND', 'NOT_FOUND'],
      ],
    ]
    expect(answers).toEqual({
      a: first,
      'a again': first,
      b: none,
      unrestricted: both,
      key: both,
      'other app': none,
    })
  })
})

describe('an upload in a prediction', () => {
  test('is its imageUrl, under PUBLIC_URL where there is one, live and in lists', async () => {
    await using harness = await open({ env: { PUBLIC_URL: 'https://rushes.example/api' } })
    const made = await uploadImage(harness)
    expect(made.url).toMatch(/^https:\/\/rushes\.example\/api\/uploads\/[\w-]{24}$/)
    const feed = harness.subscribe(
      'WebSocket',
      'subscription { predictionFeed { ... on PredictionEvent { prediction { input { imageUrl } } } } }',
    )
    await feed.next()
    await submit(harness, made.id)
    const { value } = await feed.next()
    expect(value.data.predictionFeed.prediction.input.imageUrl).toBe(made.url)
    const { data } = await harness.query('{ predictions { edges { node { input { imageUrl } } } } }')
    expect(data.predictions.edges[0].node.input.imageUrl).toBe(made.url)
  })

  test('is part of the input that an idempotency key identifies', async () => {
    await using harness = await open()
    const [one, other] = [await uploadImage(harness), await uploadImage(harness, png())]
    const first = await submit(harness, one.id, { idempotencyKey: 'k' })
    expect((await submit(harness, one.id, { idempotencyKey: 'k' })).prediction.id).toBe(first.prediction.id)
    const conflict = { code: 'IDEMPOTENCY_CONFLICT', prediction: { id: first.prediction.id } }
    expect(await submit(harness, other.id, { idempotencyKey: 'k' })).toEqual(conflict)
    const byUrl = { image: { url: one.url }, idempotencyKey: 'k' }
    expect(await submit(harness, one.id, byUrl)).toEqual(conflict)
  })

  test('that has expired looks like a missing one', async () => {
    await using harness = await open()
    const made = await uploadImage(harness)
    harness.advanceClock(7 * DAY + HOUR)
    const key = await harness.gateway.issueKey('test', 30 * DAY)
    for (const id of [made.id, UNKNOWN, 'x', encodeId('Prediction', 'x')]) {
      expect(await node(harness, id, key)).toBeNull()
      expect(await submit(harness, id, {}, key)).toEqual({ code: 'NOT_FOUND' })
    }
  })

  test('stays available as long as the job waits', async () => {
    await using harness = await open()
    const path = async (data: Buffer) => new URL((await uploadImage(harness, data)).url).pathname
    const made = await uploadImage(harness)
    const [needed, other] = [new URL(made.url).pathname, await path(png())]
    const { prediction } = await submit(harness, made.id)
    harness.advanceClock(8 * DAY)
    await harness.restart()
    await until(async () => (await harness.fetch(other)).status === 404)
    expect((await harness.fetch(needed)).status).toBe(200)
    const key = await harness.gateway.issueKey('test', 30 * DAY)
    const CANCEL = 'mutation ($id: ID!) { cancelPrediction(input: { id: $id }) { __typename } }'
    await harness.query(CANCEL, { id: prediction.id }, key)
    await harness.restart()
    await until(async () => (await harness.fetch(needed)).status === 404)
  })

  test('is available for a retry, and a retry without it says what is wrong', async () => {
    await using harness = await open()
    const key = await harness.gateway.issueKey('test', 30 * DAY)
    const made = await uploadImage(harness)
    const { prediction } = await submit(harness, made.id, { tags: ['a'] })
    await harness.query('mutation ($id: ID!) { cancelPrediction(input: { id: $id }) { __typename } }', {
      id: prediction.id,
    })
    const RETRY = `mutation ($id: ID!) {
      retryPrediction(input: { id: $id }) {
        ... on RetryPredictionPayload { prediction { input { imageUrl } } }
        ... on InvalidInputError { issues { path message } }
        ... on Error { code }
      }
    }`
    const retry = async (by: string) =>
      (await harness.query(RETRY, { id: prediction.id }, by)).data.retryPrediction
    const again = { prediction: { input: { imageUrl: made.url } } }
    expect(await retry(key)).toEqual(again)
    // The token sees the prediction, though not the upload.
    expect(await retry(await mintToken(harness, { tags: ['a'] }))).toEqual(again)
    harness.advanceClock(7 * DAY + HOUR)
    expect(await retry(key)).toEqual({
      code: 'INVALID_INPUT',
      issues: [
        { path: ['input', 'id'], message: 'its uploaded image has expired; upload it again and submit anew' },
      ],
    })
  })
})

describe('a preview', () => {
  test('is an image to any page, and nothing else', async () => {
    await using harness = await open()
    const { url } = await uploadImage(harness)
    const { pathname } = new URL(url)
    const answer = await harness.fetch(pathname)
    expect(Object.fromEntries(answer.headers)).toMatchObject({
      'content-type': 'image/jpeg',
      'content-length': `${JPEG.length}`,
      'content-disposition': 'inline; filename="image.jpg"',
      'content-security-policy': "default-src 'none'; sandbox; frame-ancestors 'none'",
      'cross-origin-resource-policy': 'cross-origin',
      'x-content-type-options': 'nosniff',
      'cache-control': 'private, max-age=86400',
    })
    const head = await harness.fetch(pathname, { method: 'HEAD' })
    expect([head.status, head.headers.get('content-length'), await head.text()]).toEqual([
      200,
      `${JPEG.length}`,
      '',
    ])
    const etag = answer.headers.get('etag')!
    for (const known of [etag, `W/${etag}`, `"x", ${etag}`, '*']) {
      const again = await harness.fetch(pathname, { headers: { 'if-none-match': known } })
      expect([again.status, await again.text(), again.headers.get('etag')]).toEqual([304, '', etag])
    }
    expect((await harness.fetch(pathname, { headers: { 'if-none-match': '"x"' } })).status).toBe(200)
    expect((await harness.fetch(pathname, { method: 'POST' })).status).toBe(405)
  })

  test('is cached by a browser no longer than it is valid', async () => {
    await using harness = await open()
    const { pathname } = new URL((await uploadImage(harness)).url)
    harness.advanceClock(7 * DAY - 60_000)
    const [, seconds] = /max-age=(\d+)$/.exec((await harness.fetch(pathname)).headers.get('cache-control')!)!
    expect(Number(seconds)).toBeLessThanOrEqual(60)
  })

  test('with an unknown token gets the same 404', async () => {
    await using harness = await open()
    const { url, id } = await uploadImage(harness)
    const { pathname } = new URL(url)
    const answerTo = async (path: string) => {
      const answer = await harness.fetch(path)
      const headers = [...answer.headers].filter(([name]) => name !== 'date')
      return [answer.status, await answer.text(), headers]
    }
    const unknown = await answerTo(`/uploads/${'x'.repeat(24)}`)
    expect(unknown[0]).toBe(404)
    for (const path of [
      '',
      'x',
      id,
      '..%2f',
      `${'x'.repeat(24)}/`,
      `${pathname.slice(9)}x`,
      pathname.slice(9, -1),
    ])
      expect([path, await answerTo(`/uploads/${path}`)]).toEqual([path, unknown])
    expect((await harness.fetch(`${pathname}?x=1`)).status).toBe(200)
  })
})

test('a file in a variable after the first is put where it belongs', async () => {
  await using harness = await open()
  const query = 'mutation ($input: UploadImageInput!) { uploadImage(input: $input) { __typename } }'
  const body = multipartForm([
    { name: 'operations', body: JSON.stringify({ query, variables: { input: { file: null } } }) },
    { name: 'map', body: '{"cat":["variables.input.file"]}' },
    filePart(JPEG, 'cat'),
  ])
  expect(await (await sendForm(harness, body)).json()).toEqual({
    data: { uploadImage: { __typename: 'UploadImagePayload' } },
  })
})
