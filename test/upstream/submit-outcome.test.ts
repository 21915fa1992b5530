import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { SubmitOutcome } from '../../src/domain/prediction.ts'
import { type SubmitResponse, toSubmitOutcome } from '../../src/upstream/submit-outcome.ts'

const NOW = Date.parse('2026-03-01T12:00:00Z')
/** What the POST had that an answer may repeat. */
const SENT = { modelId: 'alibaba/wan-2.2/i2v-plus-1080p', userSuppliedText: [] as string[] }
const ID = '45b392b22c3b449fa935bd4dc2219dfe'

const envelope = (code: unknown, data: unknown = null, message = '') =>
  JSON.stringify({ code, message, data })
const answer = (status: number, body: string, retryAfter: string | null = null): SubmitResponse => ({
  status,
  retryAfter,
  body,
})
const HTML = '<html><body>502 Bad Gateway</body></html>'
const PREDICTION = envelope(200, { id: ID, status: 'created', outputs: [] }, 'success')

type Row = [title: string, answer: SubmitResponse]

const ACCEPTED: Row[] = [
  ['HTTP 200, code 200 and an id', answer(200, PREDICTION)],
  ['HTTP 201, code 200 and an id', answer(201, PREDICTION)],
  ['an id and nothing else in its data', answer(200, envelope(200, { id: ID }))],
  ['a job that has failed already', answer(200, envelope(200, { id: ID, status: 'failed', code: 1407 }))],
  ['data of an unknown form beside the id', answer(200, envelope(200, { id: ID, outputs: 7, error: [] }))],
]

const MODEL: Row[] = [
  ['HTTP 404', answer(404, envelope(404, null, 'prediction model not found'))],
  ['HTTP 404 with HTML', answer(404, HTML)],
  ['HTTP 404 and an empty body', answer(404, '')],
  ['code 404 on HTTP 200', answer(200, envelope(404, null, 'no'))],
  ...[
    'model not found',
    'Model alibaba/wan-2.2/i2v-plus-1080p is not available.',
    'alibaba/wan-2.2/i2v-plus-1080p is deprecated',
    'This model has been retired',
    'unknown model: "alibaba/wan-2.2/i2v-plus-1080p"',
    'The model is no longer supported',
    "The model doesn't exist",
    'invalid model',
  ].map((message): Row => [`"${message}" on HTTP 400`, answer(400, envelope(400, null, message))]),
]

const REJECTED: Row[] = [400, 422].flatMap((code): Row[] => [
  [`HTTP ${code}`, answer(code, envelope(code, null, 'image is required'))],
  [`HTTP ${code} with HTML`, answer(code, HTML)],
  [`HTTP ${code} and an empty body`, answer(code, '')],
  [`code ${code} on HTTP 200`, answer(200, envelope(code, null, 'image is required'))],
])

REJECTED.push(
  ...[
    'alibaba/wan-2.2/i2v-plus-1080p: duration must be 5',
    'this model needs an image; no image was found, unknown',
    'seed is not supported by model alibaba/wan-2.2/i2v-plus-1080p',
    'The model refused the content',
    'not found',
  ].map((message): Row => [`"${message}" on HTTP 400`, answer(400, envelope(400, null, message))]),
)

const ACCOUNT: Row[] = [
  ...[401, 402, 403].flatMap((code): Row[] => [
    [`HTTP ${code}`, answer(code, envelope(code, null, 'no'))],
    [`HTTP ${code} with HTML`, answer(code, HTML)],
    [`HTTP ${code} and an empty body`, answer(code, '')],
    [`code ${code} on HTTP 200`, answer(200, envelope(code))],
  ]),
  ['code 1407 on HTTP 200', answer(200, envelope(1407))],
  ['code 1407 on HTTP 400', answer(400, envelope(1407))],
  ...[
    'Insufficient credits. Please top up to continue.',
    'insufficient credit',
    'Insufficient account balance',
    'insufficient funds',
    'Your account balance is insufficient',
    'credits exhausted',
    'Not enough credits',
    "You don't have enough credits to run this model.",
    'Your credits are not sufficient',
    'Balance not sufficient for this request',
    'Insufficient remaining account credits',
    'Insufficient quota',
    'credit limit exceeded',
    'Your balance is below the price of this task',
    'Please recharge your account',
    'account_balance_too_low',
  ].flatMap((message): Row[] => [
    [`"${message}" on HTTP 400`, answer(400, envelope(400, null, message))],
    [`"${message}" on HTTP 200`, answer(200, envelope(400, null, message))],
  ]),
]

const UNKNOWN: Row[] = [
  ['a request that was sent and got no answer', { failed: 'sent' }],
  ...[500, 501, 502, 503, 504, 520, 524, 529, 599].flatMap((code): Row[] => [
    [`HTTP ${code}`, answer(code, envelope(code, null, 'server error'))],
    [`HTTP ${code} with HTML`, answer(code, HTML)],
    [`HTTP ${code} around a refusal`, answer(code, envelope(400, null, 'insufficient credits'))],
    [`HTTP ${code} around code 1407`, answer(code, envelope(1407))],
    [`HTTP ${code} around an acceptance`, answer(code, PREDICTION)],
    [`HTTP ${code} with Retry-After`, answer(code, envelope(429), '5')],
    [`code ${code} on HTTP 200`, answer(200, envelope(code))],
  ]),
  ...[300, 301, 302, 303, 304, 307, 308].flatMap((code): Row[] => [
    [`HTTP ${code}`, answer(code, '')],
    [`HTTP ${code} around an acceptance`, answer(code, PREDICTION)],
    [`HTTP ${code} around a refusal`, answer(code, envelope(400))],
  ]),
  ...[405, 408, 409, 410, 413, 415, 418, 451].map((code): Row => [`HTTP ${code}`, answer(code, HTML)]),
  ['no id', answer(200, envelope(200, { status: 'created' }, 'success'))],
  ['an empty id', answer(200, envelope(200, { id: '' }))],
  ['a blank id', answer(200, envelope(200, { id: '  ' }))],
  ['an id that is null', answer(200, envelope(200, { id: null }))],
  ['an id that is a number', answer(200, envelope(200, { id: 7 }))],
  ['an id of endless length', answer(200, envelope(200, { id: 'a'.repeat(5000) }))],
  ['no data', answer(200, envelope(200))],
  ['a list for data', answer(200, envelope(200, [{ id: ID }]))],
  ['the bare prediction', answer(200, JSON.stringify({ id: ID, status: 'created' }))],
  ['an id that leads elsewhere', answer(200, envelope(200, { id: '..' }))],
  ['an id with a slash', answer(200, envelope(200, { id: 'a/b' }))],
  ['no code', answer(200, JSON.stringify({ data: { id: ID } }))],
  ['a body that is not JSON', answer(200, HTML)],
  ['an empty body', answer(200, '')],
  ['HTTP 204', answer(204, '')],
  ['JSON that breaks off', answer(200, PREDICTION.slice(0, -1))],
  ['JSON that is not an object', answer(200, 'null')],
  ...[201, 0, 1200, 5004, 5000].map(
    (code): Row => [`code ${code} on HTTP 200`, answer(200, envelope(code, null))],
  ),
  ...[201, 400, 401, 402, 403, 404, 422, 429, 500, 1407].map(
    (code): Row => [`an id beside code ${code} on HTTP 200`, answer(200, envelope(code, { id: ID }))],
  ),
  ...[400, 401, 402, 403, 404, 422, 429].map(
    (code): Row => [`an id beside HTTP ${code}`, answer(code, envelope(code, { id: ID }))],
  ),
  ['an id beside no credit', answer(400, envelope(400, { id: ID }, 'insufficient credits'))],
]

const kindOf = (reply: SubmitResponse) => toSubmitOutcome(reply, NOW, SENT).kind

describe('the outcome of a POST', () => {
  test.each(ACCEPTED)('%s is accepted under that id', (_, reply) => {
    expect(toSubmitOutcome(reply, NOW, SENT)).toEqual({ kind: 'accepted', upstreamId: ID })
  })

  test('no connection means that nothing was sent', () => {
    expect(kindOf({ failed: 'unsent' })).toBe('unsent')
  })

  test.each(REJECTED)('%s is a rejected input', (_, reply) => {
    expect(kindOf(reply)).toBe('rejected')
  })

  test.each(MODEL)('%s is a model that upstream does not offer', (_, reply) => {
    expect(toSubmitOutcome(reply, NOW, SENT)).toEqual({ kind: 'model' })
  })

  test.each(ACCOUNT)('%s is an account error', (_, reply) => {
    expect(kindOf(reply)).toBe('account')
  })

  test.each(UNKNOWN)('%s leaves the outcome unknown', (_, reply) => {
    expect(toSubmitOutcome(reply, NOW, SENT)).toEqual({ kind: 'unknown' })
  })
})

/** Derived from the contract's table, not from the code: what an answer can mean at most. */
function permitted(reply: Extract<SubmitResponse, { status: number }>): SubmitOutcome['kind'][] {
  const { code: written, message, data } = readable(reply.body)
  const code = typeof written === 'string' && /^\d{1,9}$/.test(written) ? Number(written) : written
  const id = typeof data?.id === 'string' ? data.id.trim() : ''
  const isSuccess = reply.status >= 200 && reply.status < 300
  if (isSuccess && code === 200 && /^[\w.:~-]{1,200}$/.test(id) && !/^\.+$/.test(id)) return ['accepted']
  const effectiveCode = isSuccess ? code : reply.status
  if (
    id !== '' ||
    typeof effectiveCode !== 'number' ||
    effectiveCode < 400 ||
    (!isSuccess && effectiveCode >= 500)
  )
    return /insufficient/i.test(String(message)) && isSuccess && id === ''
      ? ['account', 'unknown']
      : ['unknown']
  if (code === 1407 || /insufficient/i.test(String(message))) return ['account']
  if ([401, 402, 403].includes(effectiveCode)) return ['account']
  if (effectiveCode === 404) return ['model']
  if ([400, 422].includes(effectiveCode)) return ['rejected']
  return effectiveCode === 429 ? ['throttled'] : ['unknown']
}

function readable(body: string): { code?: unknown; message?: unknown; data?: { id?: unknown } | null } {
  try {
    return JSON.parse(body) ?? {}
  } catch {
    return {}
  }
}

const code = fc.oneof(
  fc.constantFrom(200, 400, 401, 402, 403, 404, 422, 429, 500, 503, 1200, 1407, 5004),
  fc.integer({ min: -10, max: 6000 }),
  fc.constantFrom(null, '200', true, {}),
)
const data = fc.oneof(
  fc.record(
    {
      id: fc.oneof(fc.constantFrom(ID, '', ' ', null, 7, {}), fc.string({ maxLength: 40 })),
      status: fc.constantFrom('created', 'failed', 7),
    },
    { requiredKeys: [] },
  ),
  fc.jsonValue(),
)
const body = fc.oneof(
  { weight: 6, arbitrary: fc.record({ code, data, message: fc.constantFrom('', 'success', null) }) },
  {
    weight: 1,
    arbitrary: fc.record({ code, data, message: fc.constant('Insufficient credits') }),
  },
  { weight: 1, arbitrary: fc.jsonValue() },
)
const text = fc.oneof(
  { weight: 6, arbitrary: body.map(value => JSON.stringify(value)) },
  { weight: 1, arbitrary: fc.string() },
  {
    weight: 1,
    arbitrary: fc.tuple(body, fc.nat(80)).map(([value, n]) => JSON.stringify(value).slice(0, n)),
  },
)
const status = fc.oneof(
  fc.constantFrom(200, 200, 201, 400, 401, 402, 403, 404, 422, 429, 500, 503),
  fc.integer({ min: 100, max: 599 }),
)

test('no random answer is accepted without a 2xx, code 200 and an id, nor rejected without a certain rejection', () => {
  const met = new Set<string>()
  fc.assert(
    fc.property(status, text, fc.option(fc.string()), (status, body, retryAfter) => {
      const { kind } = toSubmitOutcome({ status, body, retryAfter }, NOW, SENT)
      met.add(kind)
      expect(permitted({ status, body, retryAfter })).toContain(kind)
    }),
    { numRuns: 5000, seed: 1 },
  )
  expect([...met].sort()).toEqual(['accepted', 'account', 'model', 'rejected', 'throttled', 'unknown'])
})

describe('the account is accused', () => {
  const userSuppliedText = [
    'https://images.example/insufficient-credits.png',
    'A beggar with insufficient funds\nasks a model: café ACCOUNT empty — naïve "no balance left"',
    'no balance left',
  ]
  const verdictOn = (message: string, status = 400) =>
    toSubmitOutcome(answer(status, envelope(status, null, message)), NOW, { ...SENT, userSuppliedText })
  const rejected = { kind: 'rejected' }

  test.each([
    'invalid prompt: "a beggar with insufficient funds"',
    'cannot fetch https://images.example/insufficient-credits.png',
    'cannot fetch https://other.example/out-of-credits.png',
    'negative prompt `no balance left` is not allowed',
    'The prompt is too long. Credits are counted in words',
  ])('not by a quotation: %s', message => {
    expect(verdictOn(message)).toEqual(rejected)
  })

  test.each([
    ['whole', 'invalid prompt: A beggar with insufficient funds asks'],
    ['in upper case', 'BAD PROMPT: A BEGGAR WITH INSUFFICIENT FUNDS'],
    ['cut before and after', 'bad prompt …with insufficient fund…'],
    ['between single quotes', "bad prompt 'with insufficient funds'"],
    ['escaped', 'bad prompt a+beggar+with+insufficient+funds'],
    ['with other white space', 'bad prompt: beggar  with\tinsufficient   funds'],
    ['without its accents', 'bad prompt: cafe account empty, naive no balance left'],
    ['with one word of upstream beside it', 'with insufficient light: no credits were charged'],
    ['as all that upstream says', 'Insufficient funds'],
  ])('only perhaps, if the words may be a quotation: %s', (_, message) => {
    expect(verdictOn(message)).toEqual({ kind: 'perhaps account', otherwise: rejected })
  })

  test.each(['Quota exceeded for prompt "a beggar with insufficient funds"', 'Please top up your quota'])(
    'by words that the app has not used: %s',
    message => {
      expect(verdictOn(message)).toEqual({ kind: 'account' })
    },
  )

  test('by a status or a code, whatever the words', () => {
    expect(verdictOn('insufficient funds', 402)).toEqual({ kind: 'account' })
    expect(
      toSubmitOutcome(answer(400, envelope(1407, null, 'insufficient funds')), NOW, {
        ...SENT,
        userSuppliedText,
      }),
    ).toEqual({ kind: 'account' })
  })
})

describe('the model is accused', () => {
  const verdictOn = (message: string, ...userSuppliedText: string[]) =>
    toSubmitOutcome(answer(400, envelope(400, null, message)), NOW, { ...SENT, userSuppliedText })

  test.each([
    ['model not found', 'A MODEL walks'],
    ['rejected: model is unavailable', 'a model is unavailable'],
    [`${SENT.modelId} is retired`, `about ${SENT.modelId}`],
    [`${SENT.modelId}: a retired man is not allowed`, 'a retired man'],
  ])('not by words that the app may have used: %s', (message, prompt) => {
    expect(verdictOn(message, prompt)).toEqual({ kind: 'rejected' })
  })

  test('by its id, though the app writes about models', () => {
    expect(verdictOn(`model ${SENT.modelId} not found`, 'a model walks')).toEqual({ kind: 'model' })
  })
})
