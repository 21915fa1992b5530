import { expect, test } from 'vitest'
import { type SubmitResponse, toSubmitOutcome } from '../../src/upstream/submit-outcome.ts'

const SENT = { modelId: 'a/model', userSuppliedText: [] }
const NOW = Date.parse('2026-03-01T12:00:00Z')

const envelope = (code: number) => JSON.stringify({ code, message: '', data: null })
const answer = (status: number, body: string, retryAfter: string | null): SubmitResponse => ({
  status,
  retryAfter,
  body,
})
const HTML = '<html><body>502 Bad Gateway</body></html>'
const inSeconds = (seconds: number) => new Date(NOW + seconds * 1000).toUTCString()

test.each<[header: string | null, ms: number | null]>([
  ['7', 7000],
  [' 7 ', 7000],
  ['60', 60_000],
  // A wait is at least a second and at most an hour, whatever upstream sends.
  ['0', 1000],
  ['86400', 3_600_000],
  ['99999999999999999999', 3_600_000],
  [inSeconds(30), 30_000],
  [inSeconds(-30), 1000],
  [inSeconds(7 * 86_400), 3_600_000],
  [null, null],
  ['', null],
  ['  ', null],
  ['soon', null],
  ['60 seconds', null],
  ['NaN', null],
  ['-5', null],
  ['1.5', null],
])('429 with Retry-After %j waits %j ms, null being the default', (header, ms) => {
  for (const each of [answer(429, envelope(429), header), answer(429, HTML, header)])
    expect(toSubmitOutcome(each, NOW, SENT)).toEqual({ kind: 'throttled', retryAfterMs: ms })
  expect(toSubmitOutcome(answer(200, envelope(429), header), NOW, SENT)).toEqual({
    kind: 'throttled',
    retryAfterMs: ms,
  })
})
