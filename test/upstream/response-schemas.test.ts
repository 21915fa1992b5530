import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Observation } from '../../src/domain/prediction.ts'
import { predictionSchema, toUpstreamState } from '../../src/upstream/response-schemas.ts'

const ID = '45b392b22c3b449fa935bd4dc2219dfe'
const URL_1 = 'https://cdn.example/1.mp4?sig=a%2Fb'
const URL_2 = 'http://cdn.example/2.mp4'

/** The contract's example, with `fields` replaced. */
const raw = (fields: object = {}) => ({
  id: ID,
  model: 'alibaba/wan-2.2/i2v-plus-1080p',
  outputs: [],
  urls: { get: `https://api.wavespeed.ai/api/v3/predictions/${ID}/result` },
  has_nsfw_contents: [],
  status: 'created',
  created_at: '2025-09-25T09:12:48.239112031Z',
  error: '',
  executionTime: 0,
  timings: { inference: 0 },
  ...fields,
})
const parsePrediction = (fields: object) => predictionSchema.parse(raw(fields))!
const observationOf = (fields: object): Observation => toUpstreamState(parsePrediction(fields))

test('every field of the contract’s prediction is parsed', () => {
  expect(parsePrediction({})).toEqual({
    id: ID,
    model: 'alibaba/wan-2.2/i2v-plus-1080p',
    input: null,
    status: 'created',
    code: null,
    error: null,
    createdAt: Date.parse('2025-09-25T09:12:48.239Z'),
    inferenceMs: null,
    outputs: [],
    unreadableOutputs: 0,
  })
})

describe('a status', () => {
  test.each([
    ['created', 'waiting'],
    ['pending', 'waiting'],
    ['queued', 'waiting'],
    ['starting', 'processing'],
    ['running', 'processing'],
    ['in_progress', 'processing'],
    ['processing', 'processing'],
    ['completed', 'completed'],
    ['succeeded', 'completed'],
    ['success', 'completed'],
    ['failed', 'failed'],
    ['timeout', 'failed'],
    ['cancelled', 'canceled'],
    ['canceled', 'canceled'],
    ['deleted', 'canceled'],
  ])('%j is %s, in whatever case', (status, means) => {
    for (const form of [status, status.toUpperCase(), ` ${status[0]?.toUpperCase()}${status.slice(1)}\n`])
      expect(observationOf({ status: form }).status).toBe(means)
  })

  test.each([
    'sparkling',
    'error',
    'expired',
    'fail',
    'complete',
    'failed!',
    'toString',
    '__proto__',
    '',
    null,
    7,
    true,
    {},
    ['failed'],
    undefined,
  ])('%j is unknown, so the gateway keeps waiting for the job', status => {
    expect(observationOf({ status, code: 1200, error: 'failed', outputs: [URL_1] })).toEqual({
      status: 'waiting',
    })
  })
})

describe('the end of a job', () => {
  test.each([
    ['failed', 1200, 'CONTENT_REJECTED'],
    ['failed', 1400, 'INVALID_INPUT'],
    ['failed', 1401, 'INVALID_INPUT'],
    ['failed', 1402, 'IMAGE_UNREACHABLE'],
    ['failed', 1403, 'GENERATION_FAILED'],
    ['failed', 1405, 'GENERATION_FAILED'],
    ['failed', 1406, 'GENERATION_FAILED'],
    ['failed', 1407, 'GENERATION_FAILED'],
    ['failed', 5000, 'UPSTREAM_UNAVAILABLE'],
    ['failed', 5003, 'UPSTREAM_UNAVAILABLE'],
    ['failed', 5004, 'TIMED_OUT'],
    ['failed', '5004', 'TIMED_OUT'],
    ['timeout', undefined, 'TIMED_OUT'],
    ['timeout', 5000, 'TIMED_OUT'],
    ['failed', undefined, 'GENERATION_FAILED'],
    ['failed', null, 'GENERATION_FAILED'],
    ['failed', 0, 'GENERATION_FAILED'],
    ['failed', 9999, 'GENERATION_FAILED'],
    ['failed', 1200.5, 'GENERATION_FAILED'],
    ['failed', 'moderation', 'GENERATION_FAILED'],
    ['failed', 'constructor', 'GENERATION_FAILED'],
    ['failed', { code: 1200 }, 'GENERATION_FAILED'],
  ])('%s with code %j is reported as %s', (status, code, error) => {
    expect(observationOf({ status, code, executionTime: 1234 })).toEqual({
      status: 'failed',
      error,
      inferenceMs: 1234,
    })
  })

  test.each(['cancelled', 'canceled', 'deleted'])('%s is not a failure, whatever its code', status => {
    expect(observationOf({ status, code: 1200, error: 'x' })).toEqual({ status: 'canceled' })
  })

  test.each<[outputs: unknown, unreadable: number | undefined]>([
    [['/files/1.mp4', URL_1, null, '', { uri: URL_2 }, 7], 3],
    [[URL_1, null, ' ', { url: null }], undefined],
    [null, undefined],
    ['x', 1],
  ])('of a completed job with the outputs %j, %j are not web addresses', (outputs, unreadable) => {
    const observation = observationOf({ status: 'completed', outputs })
    expect(observation).toEqual(expect.objectContaining(unreadable ? { unreadableOutputs: unreadable } : {}))
    expect('unreadableOutputs' in observation).toBe(unreadable !== undefined)
  })

  test('a completed job with a code and an error is completed', () => {
    expect(observationOf({ status: 'completed', outputs: [URL_1], code: 5000, error: 'x' })).toMatchObject({
      status: 'completed',
    })
  })
})

describe('outputs', () => {
  const outputs = (outputs: unknown, has_nsfw_contents: unknown = []) =>
    parsePrediction({ status: 'completed', outputs, has_nsfw_contents }).outputs
  const urls = (value: unknown) => outputs(value).map(output => output.url)

  test.each<[title: string, value: unknown, expected: string[]]>([
    ['strings', [URL_1, URL_2], [URL_1, URL_2]],
    ['objects with url', [{ url: URL_1, width: 1920 }, { url: URL_2 }], [URL_1, URL_2]],
    ['strings and objects', [{ url: URL_1 }, URL_2], [URL_1, URL_2]],
    ['nulls between them', [null, URL_1, null], [URL_1]],
    ['an empty list', [], []],
    ['null', null, []],
    ['nothing', undefined, []],
    ['one string', URL_1, [URL_1]],
    ['one object', { url: URL_1 }, [URL_1]],
    ['no URLs', ['', ' ', 'a video', '/files/1.mp4', '//cdn.example/1.mp4', 7, true, [URL_1], {}], []],
    ['URLs of other schemes', ['javascript:alert(1)', 'data:video/mp4;base64,AA', 'file:///etc/passwd'], []],
    ['objects without a usable url', [{}, { url: null }, { url: 'x' }, { url: { url: URL_1 } }], []],
    ['blanks around', [` ${URL_1}\n`, { url: `\t${URL_2}` }], [URL_1, URL_2]],
    ['a line break within', [`${URL_1.slice(0, 20)}\r\n${URL_1.slice(20)}`], [URL_1]],
    ['a blank within', ['https://cdn.example/my video.mp4'], ['https://cdn.example/my%20video.mp4']],
    ['one URL among nonsense', [{ uri: URL_2 }, 'x', { url: URL_1 }], [URL_1]],
  ])('%s are parsed to their URLs', (_, value, read) => {
    expect(urls(value)).toEqual(read)
  })

  test.each<[value: unknown, expected: (boolean | null)[]]>([
    [
      [true, false],
      [true, false],
    ],
    [[true], [true, null]],
    [
      [null, true],
      [null, true],
    ],
    [
      ['yes', 1],
      [null, null],
    ],
    [[], [null, null]],
    [null, [null, null]],
    [undefined, [null, null]],
    [true, [null, null]],
    [{ 0: true }, [null, null]],
  ])('has_nsfw_contents %j is assigned to two outputs as %j', (value, expected) => {
    expect(outputs([URL_1, URL_2], value).map(output => output.hasNsfwContent)).toEqual(expected)
  })

  test('a boolean stays with its own output if another output is dropped', () => {
    expect(outputs([null, URL_1, 'x', URL_2], [false, true, false, null])).toEqual([
      { url: URL_1, hasNsfwContent: true },
      { url: URL_2, hasNsfwContent: null },
    ])
  })

  test('are part of a completed job’s state', () => {
    expect(observationOf({ status: 'succeeded', outputs: [URL_1], has_nsfw_contents: [true] })).toEqual({
      status: 'completed',
      outputs: [{ url: URL_1, hasNsfwContent: true }],
      inferenceMs: null,
    })
  })
})

test.each<[value: unknown, expected: string | null]>([
  ['', null],
  [null, null],
  [undefined, null],
  ['the image is too small', 'the image is too small'],
  [{ message: 'the image is too small', code: 7 }, 'the image is too small'],
  [{ message: '' }, null],
  [{ message: 7 }, null],
  [{}, null],
  [[], null],
  [7, null],
  [false, null],
])('error %j is parsed as %j', (error, read) => {
  expect(parsePrediction({ error }).error).toBe(read)
})

test.each<[value: unknown, expected: string | null]>([
  ['2025-09-25T09:12:48.239112031Z', '2025-09-25T09:12:48.239Z'],
  ['2025-09-25T09:12:48.000000001Z', '2025-09-25T09:12:48.000Z'],
  ['2025-09-25T09:12:48.999999999Z', '2025-09-25T09:12:48.999Z'],
  ['2025-09-25T09:12:48Z', '2025-09-25T09:12:48.000Z'],
  ['2025-09-25T11:12:48.239112031+02:00', '2025-09-25T09:12:48.239Z'],
  ['yesterday', null],
  ['', null],
  [null, null],
  [undefined, null],
  [{}, null],
])('created_at %j is parsed as %j', (created_at, read) => {
  const { createdAt } = parsePrediction({ created_at })
  expect(createdAt && new Date(createdAt).toISOString()).toBe(read)
})

test.each<[timings: unknown, executionTime: unknown, expected: number | null]>([
  [{ inference: 61_234 }, 63_000, 61_234],
  [{ inference: 61_234.4 }, 0, 61_234],
  [{ inference: 0 }, 63_000, 63_000],
  [{}, 63_000, 63_000],
  [null, 63_000, 63_000],
  [undefined, 63_000, 63_000],
  ['61 s', 63_000, 63_000],
  [{ inference: null }, null, null],
  [{ inference: -1 }, -1, null],
  [{ inference: '61234' }, undefined, null],
  [{ inference: 0 }, 0, null],
  [undefined, undefined, null],
])('timings %j with executionTime %j are parsed as %j ms', (timings, executionTime, read) => {
  expect(parsePrediction({ timings, executionTime }).inferenceMs).toBe(read)
})

test.each([null, undefined, 7, 'x', true, []])('%j is not a prediction', value => {
  expect(predictionSchema.parse(value)).toBeNull()
})

test('an empty object means: keep waiting', () => {
  const empty = predictionSchema.parse({})!
  expect(empty).toMatchObject({ id: '', outputs: [] })
  expect(toUpstreamState(empty)).toEqual({ status: 'waiting' })
})

const CODES = [
  'CONTENT_REJECTED',
  'INVALID_INPUT',
  'IMAGE_UNREACHABLE',
  'GENERATION_FAILED',
  'UPSTREAM_UNAVAILABLE',
  'TIMED_OUT',
]

test('no JSON value makes the parse throw, and only a final status of upstream ends a job', () => {
  const value = fc.oneof(fc.jsonValue(), fc.constantFrom(null, '', 'x', 0, -1, 1e300, URL_1, [], {}))
  const status = fc.oneof(value, fc.constantFrom('failed', 'completed', 'timeout', 'deleted', 'processing'))
  const fields = fc.record(
    {
      id: value,
      status,
      outputs: fc.oneof(value, fc.array(value)),
      has_nsfw_contents: fc.oneof(value, fc.array(fc.oneof(value, fc.boolean()))),
      code: fc.oneof(value, fc.constantFrom(1200, 5004)),
      error: value,
      created_at: value,
      timings: fc.oneof(value, fc.record({ inference: value })),
      executionTime: value,
    },
    { requiredKeys: [] },
  )
  const met = new Set<string>()
  fc.assert(
    fc.property(fc.oneof(fc.jsonValue(), fields), input => {
      const parsed = predictionSchema.parse(JSON.parse(JSON.stringify(input)))
      if (parsed === null) return
      const observed = toUpstreamState(parsed)
      met.add(observed.status)
      expect(typeof parsed.id).toBe('string')
      if (observed.status === 'failed') {
        expect(CODES).toContain(observed.error)
        expect((input as { status: string }).status.trim().toLowerCase()).toMatch(/^(failed|timeout)$/)
      }
      if (observed.status === 'completed')
        for (const { url } of observed.outputs) expect(url).toMatch(/^https?:/i)
    }),
    { numRuns: 3000, seed: 1 },
  )
  expect([...met].sort()).toEqual(['canceled', 'completed', 'failed', 'processing', 'waiting'])
})
