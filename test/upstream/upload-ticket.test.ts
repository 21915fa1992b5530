import { expect, test } from 'vitest'
import { parseTicket } from '../../src/upstream/upload-ticket.ts'

const REAL = 'https://api.wavespeed.ai'
const LOCAL = 'http://127.0.0.1:4001'

const ticket = (upload: object = {}, downloadUrl: unknown = 'https://files.example/1') => ({
  download_url: downloadUrl,
  upload: { method: 'PUT', url: 'https://bucket.example/1?s=x', headers: { 'x-token': 't' }, ...upload },
})

test('a ticket has a PUT URL, headers and a download URL', () => {
  expect(parseTicket(ticket({ expires_at: '2026-01-31T12:00:00Z' }), REAL)).toEqual({
    url: 'https://bucket.example/1?s=x',
    headers: { 'x-token': 't' },
    downloadUrl: 'https://files.example/1',
  })
  expect(parseTicket(ticket({ headers: null }), REAL)?.headers).toEqual({})
})

test('credentials and headers that control the connection are dropped', () => {
  const headers = {
    Authorization: 'Bearer x',
    cookie: 'a',
    Host: 'b',
    'content-length': '1',
    'content-type': 'c',
  }
  expect(parseTicket(ticket({ headers }), REAL)?.headers).toEqual({ 'content-type': 'c' })
})

test.each([
  ['nothing', null],
  ['a text', 'https://bucket.example'],
  ['another method', ticket({ method: 'POST' })],
  ['no address', ticket({ url: undefined })],
  ['an invalid address', ticket({ url: 'bucket' })],
  ['plain http', ticket({ url: 'http://bucket.example/1' })],
  ['a file', ticket({ url: 'file:///etc/passwd' })],
  ['an address with a password', ticket({ url: 'https://a:b@bucket.example/1' })],
  ['loopback, from elsewhere', ticket({ url: 'http://127.0.0.1/1' })],
  ['no address to fetch the image from', ticket({}, null)],
  ['a plain http address to fetch the image from', ticket({}, 'http://files.example/1')],
  ['a header that would be two', ticket({ headers: { 'x-token': 'a\r\nx: b' } })],
  ['a header without a name', ticket({ headers: { '': 'a' } })],
  ['a header of another type', ticket({ headers: { 'x-token': 1 } })],
])('%s is not a ticket', (_, data) => {
  expect(parseTicket(data, REAL)).toBeNull()
})

test('plain http is accepted on loopback only, and only if the base URL is on loopback', () => {
  const local = ticket({ url: `${LOCAL}/1` }, `${LOCAL}/2`)
  expect(parseTicket(local, LOCAL)?.url).toBe(`${LOCAL}/1`)
  expect(parseTicket(local, 'https://127.0.0.1')).toBeNull()
  expect(parseTicket(ticket({ url: 'http://10.0.0.1/1' }), LOCAL)).toBeNull()
  expect(parseTicket(ticket({ url: 'http://127.0.0.1.example/1' }), LOCAL)).toBeNull()
})
