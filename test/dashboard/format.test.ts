import { expect, test } from 'vitest'
import {
  formatAgo,
  formatClock,
  formatError,
  formatMoney,
  formatSeconds,
  httpUrlOrUndefined,
} from '../../src/dashboard/format.ts'
import { at, NOON } from '../support/prediction-card.ts'

const SECOND = 1000
const MINUTE = 60 * SECOND

test('durations, times and money are formatted for people', () => {
  expect([0, 42_900, 725_000, 3_723_000, -5].map(formatClock)).toEqual([
    '0:00',
    '0:42',
    '12:05',
    '1:02:03',
    '0:00',
  ])
  expect([0, 4.23, 9, 61, 180, 7200].map(formatSeconds)).toEqual([
    '0 s',
    '4.2 s',
    '9 s',
    '61 s',
    '3 min',
    '2 h',
  ])
  expect([0.8, 0, 1234.5].map(formatMoney)).toEqual(['$0.80', '$0.00', '$1,234.50'])
  expect([-1, 59 * SECOND, 5 * MINUTE, 180 * MINUTE].map(age => formatAgo(at(-age), NOON))).toEqual([
    'just now',
    'just now',
    '5 min ago',
    '3 h ago',
  ])
})

test('an error has the facts that the user needs to act on it', () => {
  expect(
    formatError({ code: 'RATE_LIMITED', message: 'Too many of all sorts.', retryAfterMs: 11_200 }, 0.8),
  ).toBe('Too many submits within a minute. In 12 s there is room again.')
  expect(formatError({ message: 'Over.', budget: { amount: 10 }, spent: { amount: 9.6 } }, 0.8)).toBe(
    'Over. Spent: $9.60 of $10.00; this costs $0.80.',
  )
  const issues = ['expected at most 10 tags', 'its image has expired'].map(message => ({ path: [], message }))
  expect(formatError({ message: 'No.', issues })).toBe('At most 10 tags. Its image has expired.')
  expect(formatError({ message: 'No.' })).toBe('No.')
})

test.each([
  ['https://videos.example/1.mp4', true],
  ['HTTP://127.0.0.1:1/x', true],
  ['javascript:alert(1)', false],
  ['data:text/html,<script>', false],
  ['//videos.example/1.mp4', false],
  ['', false],
])('%s is a URL that may be shown: %s', (url, isAllowed) => {
  expect(httpUrlOrUndefined(url)).toBe(isAllowed ? url : undefined)
})
