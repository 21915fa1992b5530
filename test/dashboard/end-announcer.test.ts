import { afterEach, expect, test, vi } from 'vitest'
import { type Announcement, announcementText, createEndAnnouncer } from '../../src/dashboard/end-announcer.ts'
import { predictionOf } from '../support/prediction-card.ts'

afterEach(() => {
  vi.useRealTimers()
})

test('finished predictions are announced: one by its prompt, several by their number', () => {
  const failed = { code: 'X', message: 'No.', retryable: false }
  const [done, gone] = [
    predictionOf('a', { status: 'COMPLETED' }),
    predictionOf('b', { status: 'FAILED', error: failed }),
  ]
  expect(announcementText([done])).toBe('The video is there: a')
  expect(announcementText([gone])).toBe('Failed: b. No.')
  expect(announcementText([done, done, gone])).toBe('2 videos are there, 1 failed')
  expect(announcementText([gone, gone])).toBe('2 failed')
})

test('equal texts are two announcements, and an unfinished prediction causes none', async () => {
  vi.useFakeTimers()
  const announcements: Announcement[] = []
  const announcer = createEndAnnouncer(announcement => announcements.push(announcement))
  announcer.add(predictionOf('a', { status: 'PROCESSING' }))
  await vi.advanceTimersByTimeAsync(5000)
  expect(announcements).toEqual([])
  for (let n = 0; n < 2; n++) {
    announcer.add(predictionOf('a', { status: 'COMPLETED' }))
    await vi.advanceTimersByTimeAsync(5000)
  }
  expect(announcements.map(({ text }) => text)).toEqual(['The video is there: a', 'The video is there: a'])
  expect(new Set(announcements.map(({ id }) => id)).size).toBe(2)
  announcer.add(predictionOf('a', { status: 'COMPLETED' }))
  announcer.stop()
  await vi.advanceTimersByTimeAsync(5000)
  expect(announcements).toHaveLength(2)
})
