/**
 * Uploads by clients that send anything but a correct request: each gets a response, and no other upload
 * waits for it.
 */
import { once } from 'node:events'
import { request } from 'node:http'
import { connect } from 'node:net'
import { text } from 'node:stream/consumers'
import { describe, expect, test } from 'vitest'
import { type Harness, type Result, startGateway } from '../../support/gateway.ts'
import { mintToken } from '../../support/token.ts'
import { until } from '../../support/until.ts'
import {
  FORM_TYPE,
  filePart,
  JPEG,
  multipartForm,
  type Part,
  png,
  sendForm,
  UPLOAD,
  uploadImage,
  uploadParts,
} from '../../support/upload.ts'

const HOUR = 60 * 60 * 1000
const [operations, map, file] = uploadParts(JPEG) as [Part, Part, Part]
const operationsOf = (body: unknown): Part => ({ ...operations, body: JSON.stringify(body) })
const mapOf = (body: unknown): Part => ({
  ...map,
  body: typeof body === 'string' ? body : JSON.stringify(body),
})
const UPLOAD_OPERATION = { query: UPLOAD, variables: { file: null } }
const errorLines = ({ log }: Harness) => log.filter(({ level }) => level === 'error')

/** A form that is never sent to its end. `status` is set once there is a response. */
function openUnfinishedForm(harness: Harness, sent: Buffer, key = harness.key) {
  const connection = request(`${harness.gateway.url}/graphql`, {
    method: 'POST',
    agent: false,
    headers: { authorization: `Bearer ${key}`, 'content-type': FORM_TYPE, 'content-length': 5_000_000 },
  })
  const written = new Promise(resolve => connection.write(sent, resolve))
  const form = { connection, written, status: null as number | null, closed: false }
  connection.on('response', response => {
    form.status = response.statusCode!
    response.resume()
  })
  connection.on('error', () => {})
  connection.on('close', () => {
    form.closed = true
  })
  return form
}

describe('a form', () => {
  test.each<[string, Part[]]>([
    ['of nothing', []],
    ['without operations', [map, file]],
    ['whose operations are a file', [{ ...operations, filename: 'x' }, map]],
    ['whose operations are not JSON', [{ ...operations, body: '{' }, map, file]],
    ['whose operations are a string', [operationsOf('x'), map, file]],
    ['whose operations are null', [operationsOf(null), map, file]],
    [
      'of a batch',
      [operationsOf([UPLOAD_OPERATION, UPLOAD_OPERATION]), mapOf({ 0: ['0.variables.file'] }), file],
    ],
    ['without a document', [operationsOf({ variables: { file: null } }), map, file]],
    ['without map', [operations, file]],
    ['whose map is not JSON', [operations, mapOf('{'), file]],
    ['whose map is a list', [operations, mapOf([['variables.file']]), file]],
    ['whose map is a number', [operations, mapOf(1), file]],
    ['whose map is null', [operations, mapOf(null), file]],
    ['whose map names nothing', [operations, mapOf({}), file]],
    ['whose map has no path', [operations, mapOf({ 0: [] }), file]],
    ['whose map has two paths', [operations, mapOf({ 0: ['variables.file', 'variables.file'] }), file]],
    [
      'whose map names two files',
      [operations, mapOf({ 0: ['variables.file'], 1: ['variables.file'] }), file],
    ],
    ['whose map has a path that is not a string', [operations, mapOf({ 0: [['variables', 'file']] }), file]],
    ['whose map has no list of paths', [operations, mapOf({ 0: 'variables.file' }), file]],
    ['whose map leads to a missing variable', [operations, mapOf({ 0: ['variables.other'] }), file]],
    ['whose map leads through a null', [operations, mapOf({ 0: ['variables.file.a.b'] }), file]],
    ['whose map leads to the document', [operations, mapOf({ 0: ['query'] }), file]],
    ['whose map leads to all operations', [operations, mapOf({ 0: [''] }), file]],
    ['whose map leads to the variables', [operations, mapOf({ 0: ['variables'] }), file]],
    [
      'whose map leads out of the variables',
      [operationsOf({ ...UPLOAD_OPERATION, extensions: { a: null } }), mapOf({ 0: ['extensions.a'] }), file],
    ],
    ['whose map leads to a prototype', [operations, mapOf({ 0: ['__proto__.file'] }), file]],
    [
      'whose map leads to a prototype of the variables',
      [operations, mapOf({ 0: ['variables.__proto__.file'] }), file],
    ],
    [
      'whose map leads to a constructor',
      [operations, mapOf({ 0: ['variables.constructor.prototype'] }), file],
    ],
    [
      'whose map leads to a value that is not null',
      [operationsOf({ query: UPLOAD, variables: { file: 'x' } }), map, file],
    ],
    ['without its file', [operations, map]],
    ['whose file has another name', [operations, map, filePart(JPEG, '1')]],
    ['whose file is a field', [operations, map, { name: '0', body: 'x' }]],
    ['whose map names its operations', [operations, mapOf({ operations: ['variables.file'] }), file]],
    ['of two files', [operations, map, file, filePart(JPEG, '1')]],
    ['of a file twice', [operations, map, file, file]],
    ['of a third field', [operations, map, { name: 'more', body: 'x' }, file]],
    [
      'of a hundred fields',
      [operations, map, ...Array.from({ length: 100 }, (_, i) => ({ name: `${i}`, body: '' }))],
    ],
    ['of a long name', [{ ...operations, name: 'x'.repeat(10_000) }, map, file]],
  ])('%s gets an error that names the fault', async (_, parts) => {
    await using harness = await startGateway()
    const answer = await sendForm(harness, multipartForm(parts))
    const { data, errors } = (await answer.json()) as Result
    expect([answer.status, data ?? null]).toEqual([400, null])
    expect(errors![0]!.message).not.toContain('Unexpected')
    expect(errorLines(harness)).toEqual([])
    expect(Object.keys(Object.prototype)).toEqual([])
  })

  test.each([
    ['that ends in the headers of a part', multipartForm(uploadParts(JPEG)).subarray(0, 30)],
    ['that ends in its file', multipartForm(uploadParts(JPEG)).subarray(0, 3000)],
    ['of noise', Buffer.from('x'.repeat(1000))],
    ['of nothing at all', Buffer.alloc(0)],
  ])('%s gets a 400', async (_, body) => {
    await using harness = await startGateway()
    expect((await sendForm(harness, body)).status).toBe(400)
    expect(errorLines(harness)).toEqual([])
  })

  test.each([
    'multipart/form-data',
    'multipart/form-data; boundary=',
    'multipart/form-data; boundary=another',
    `Multipart/Form-Data;boundary="${'x'.repeat(200)}"`,
  ])('of the type %s gets a 400', async type => {
    await using harness = await startGateway()
    const answer = await sendForm(harness, multipartForm(uploadParts(JPEG)), harness.key, {
      'content-type': type,
    })
    expect(answer.status).toBe(400)
    expect(errorLines(harness)).toEqual([])
  })

  test.each(['operations', 'map'])('of a field %s that is too long gets a 413', async name => {
    await using harness = await startGateway()
    const parts = [operations, map, file].map(part =>
      part.name === name ? { ...part, body: ' '.repeat(300_000) } : part,
    )
    const answer = await sendForm(harness, multipartForm(parts))
    expect([answer.status, ((await answer.json()) as Result).errors![0]!.extensions]).toEqual([
      413,
      { code: 'REQUEST_ENTITY_TOO_LARGE' },
    ])
  })

  const formOnlyMessage = 'body: expected JSON; a form is for uploadImage alone'
  test.each<[string, string, string?]>([
    ['a query', '{ viewer { name } }'],
    ['another mutation', 'mutation { cancelPrediction(input: { id: "x" }) { __typename } }'],
    ['a subscription', 'subscription ($file: String) { predictionFeed(after: $file) { __typename } }'],
    [
      'two uploads',
      'mutation ($file: File!) { a: uploadImage(input: { file: $file }) { __typename } b: uploadImage(input: { file: $file }) { __typename } }',
    ],
    [
      'an upload and more',
      'mutation ($file: File!) { uploadImage(input: { file: $file }) { __typename } cancelPrediction(input: { id: "x" }) { __typename } }',
    ],
    [
      'an upload in a fragment',
      'mutation ($file: File!) { ...F } fragment F on Mutation { uploadImage(input: { file: $file }) { __typename } cancelPrediction(input: { id: "x" }) { __typename } }',
    ],
    [
      'another operation of the document',
      `query Q { viewer { name } } ${UPLOAD.replace('mutation (', 'mutation M(')}`,
      'Q',
    ],
  ])('of %s is rejected, and no field of it runs', async (_, query, operationName?: string) => {
    await using harness = await startGateway()
    for (const accept of ['application/json', 'text/event-stream']) {
      const parts = [operationsOf({ query, operationName, variables: { file: null } }), map, file]
      const answer = await sendForm(harness, multipartForm(parts), harness.key, { accept })
      const answerText = await answer.text()
      expect(answerText).toContain(formOnlyMessage)
      expect(answerText).not.toContain('"data":{')
    }
    expect(errorLines(harness)).toEqual([])
  })

  test('of a named operation among others, with an alias, is an upload', async () => {
    await using harness = await startGateway()
    const query = `query Q { viewer { name } } mutation M($file: File!) { a: uploadImage(input: { file: $file }) { __typename } }`
    const parts = [operationsOf({ query, operationName: 'M', variables: { file: null } }), map, file]
    const { data } = (await (await sendForm(harness, multipartForm(parts))).json()) as Result
    expect(data).toEqual({ a: { __typename: 'UploadImagePayload' } })
  })

  test('in small chunks without a declared length is accepted', async () => {
    await using harness = await startGateway()
    const connection = request(`${harness.gateway.url}/graphql`, {
      method: 'POST',
      agent: false,
      headers: { authorization: `Bearer ${harness.key}`, 'content-type': FORM_TYPE },
    })
    const body = multipartForm(uploadParts(JPEG))
    for (let at = 0; at < body.length; at += 700) connection.write(body.subarray(at, at + 700))
    connection.end()
    const [response] = await once(connection, 'response')
    expect(await text(response)).toContain('"UploadImagePayload"')
  })

  test('by GET is rejected: a document is in the URL', async () => {
    await using harness = await startGateway()
    const query = encodeURIComponent(UPLOAD)
    const path = `/graphql?query=${query}&variables=${encodeURIComponent('{"file":{"read":1}}')}`
    const headers = { authorization: `Bearer ${harness.key}`, 'content-type': FORM_TYPE }
    expect((await harness.fetch(path, { headers })).status).toBeGreaterThanOrEqual(400)
  })
})

describe('a caller that may not upload', () => {
  test.each<[string, number, Record<string, string>, (harness: Harness) => Promise<string>]>([
    ['with an unknown key', 401, {}, async () => `rsh_${'x'.repeat(40)}`],
    [
      'above its request rate',
      429,
      { MAX_REQUESTS_PER_MINUTE_PER_KEY: '1' },
      async harness => {
        await harness.query('{ __typename }')
        return harness.key
      },
    ],
    [
      'with an address above its request rate',
      429,
      { MAX_REQUESTS_PER_MINUTE_PER_ADDRESS: '1' },
      async harness => {
        await harness.query('{ __typename }')
        return harness.key
      },
    ],
    [
      'above its upload rate',
      429,
      { MAX_UPLOADS_PER_MINUTE_PER_APP: '1' },
      async harness => {
        await uploadImage(harness)
        return harness.key
      },
    ],
  ])('%s gets a %i before its file is read, and the connection closes', async (_, status, env, prepare) => {
    await using harness = await startGateway({ env })
    const key = await prepare(harness)
    const { connection } = openUnfinishedForm(harness, multipartForm([operations, map]).subarray(0, -10), key)
    const [response] = await once(connection, 'response')
    expect([response.statusCode, response.headers.connection]).toEqual([status, 'close'])
    if (status === 429) expect(Number(response.headers['retry-after'])).toBeGreaterThan(0)
    response.resume()
    await once(connection, 'close')
  })

  test('is rejected however much it sends', async () => {
    await using harness = await startGateway()
    const answer = await sendForm(harness, multipartForm(uploadParts(png(25 * 1024 * 1024))), 'nobody')
    expect(answer.status).toBe(401)
  })
})

describe('a slow upload', () => {
  const timeouts = { requestTimeout: 200, headersTimeout: 200, connectionsCheckingInterval: 50 }

  test('may take longer than any other body, but is limited too', async () => {
    await using harness = await startGateway({
      overrides: { httpTimeouts: { ...timeouts, uploadTimeout: 1500 } },
    })
    const form = openUnfinishedForm(harness, multipartForm(uploadParts(JPEG)).subarray(0, 3000))
    const json = connect(Number(new URL(harness.gateway.url).port), '127.0.0.1')
    json.on('error', () => {})
    json.write(
      `POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: Bearer ${harness.key}\r\nContent-Length: 1000\r\n\r\n{`,
    )
    const answerText = text(json)
    await once(json, 'close')
    expect(await answerText).toMatch(/^HTTP\/1.1 408 /)
    expect([form.status, form.closed]).toEqual([null, false])
    await until(() => form.closed)
    expect(errorLines(harness)).toEqual([])
  })

  test('delays only its own app, and releases its slot when it is aborted', async () => {
    await using harness = await startGateway()
    const slow = [1, 2, 3].map(() =>
      openUnfinishedForm(harness, multipartForm(uploadParts(JPEG)).subarray(0, 3000)),
    )
    let isAdmitted = false
    await Promise.all(slow.map(({ written }) => written))
    const next = uploadImage(harness).then(() => {
      isAdmitted = true
    })
    const other = await harness.gateway.issueKey('another', HOUR)
    for (let n = 0; n < 5; n++) await uploadImage(harness, png(), other)
    expect(isAdmitted).toBe(false)
    for (const { connection } of slow) connection.destroy()
    await next
    expect(errorLines(harness)).toEqual([])
  })
})

test('a stalled form gets a 408, and releases its slot', async () => {
  await using harness = await startGateway()
  const stalled = [1, 2, 3].map(() =>
    openUnfinishedForm(harness, multipartForm(uploadParts(JPEG)).subarray(0, 3000)),
  )
  await Promise.all(stalled.map(({ written }) => written))
  await uploadImage(harness)
  expect(stalled.map(({ status }) => status)).toEqual([408, 408, 408])
  expect(errorLines(harness)).toEqual([])
})

test('two slow forms of one token do not delay the uploads of its app, nor of another token', async () => {
  await using harness = await startGateway()
  const [slow, other] = [await mintToken(harness), await mintToken(harness)]
  const forms = [1, 2].map(() =>
    openUnfinishedForm(harness, multipartForm(uploadParts(JPEG)).subarray(0, 3000), slow),
  )
  await Promise.all(forms.map(({ written }) => written))
  await uploadImage(harness)
  await uploadImage(harness, png(), other)
  expect(forms.map(({ status }) => status)).toEqual([null, null])
  for (const { connection } of forms) connection.destroy()
})

test('a token that may not submit may not upload; one that may uploads four images for each submit', async () => {
  await using harness = await startGateway()
  const none = await mintToken(harness, { maxSubmits: 0 })
  const answer = async (key: string) =>
    (await (await sendForm(harness, multipartForm(uploadParts(JPEG)), key)).json()) as Result
  expect((await answer(none)).data).toMatchObject({ uploadImage: { code: 'FORBIDDEN' } })
  const one = await mintToken(harness, { maxSubmits: 1 })
  for (let n = 0; n < 4; n++) expect((await answer(one)).data).toMatchObject({ uploadImage: { upload: {} } })
  expect((await answer(one)).errors![0]!.extensions!.code).toBe('RATE_LIMITED')
  await uploadImage(harness)
})

test('a form that is cut off releases its slot', async () => {
  await using harness = await startGateway()
  for (let n = 0; n < 12; n++) {
    const form = openUnfinishedForm(harness, multipartForm(uploadParts(JPEG)).subarray(0, 400 * n))
    await form.written
    form.connection.destroy()
  }
  for (let n = 0; n < 3; n++) await uploadImage(harness)
  expect(errorLines(harness)).toEqual([])
})
