import { describe, expect, test } from 'vitest'
import {
  MIN_COUNTED_BYTES,
  type QuotaImage,
  type QuotaRequest,
  quotaImagesNeeded,
  quotaRetryAfterMs,
} from '../../src/domain/upload-quota.ts'
import { HOUR, SECOND, T } from '../support/store.ts'

const MB = 1_000_000
const PRUNE_DELAY = 30 * SECOND
const image = (over: Partial<QuotaImage> = {}): QuotaImage => ({
  bytes: MB,
  uploadExpiresAt: null,
  deleteRequestedAt: null,
  writeStartedAt: T,
  ...over,
})
const request = (bytes: number): QuotaRequest => ({ bytes, maxUploadBytesPerApp: 4 * MB, now: T })

describe('an image', () => {
  test('that fits needs no list of the others', () => {
    expect(quotaImagesNeeded(request(MB), 3 * MB)).toBe(false)
    expect(quotaRetryAfterMs(request(MB), { storedBytes: 3 * MB })).toBeNull()
    expect(quotaImagesNeeded(request(MB), 3 * MB + 1)).toBe(true)
    expect(() => quotaRetryAfterMs(request(MB), { storedBytes: 3 * MB + 1 })).toThrow('images was not loaded')
  })

  test('that is small counts for 64 KiB', () => {
    const free = 4 * MB - MIN_COUNTED_BYTES
    expect(quotaRetryAfterMs(request(1), { storedBytes: free })).toBeNull()
    expect(quotaImagesNeeded(request(1), free + 1)).toBe(true)
  })

  test('fits when so many others have ended that their bytes suffice, in the order of their ends', () => {
    const images = [
      image({ uploadExpiresAt: T + 3 * HOUR }),
      image({ uploadExpiresAt: T + HOUR, bytes: 1 }),
      image({ uploadExpiresAt: T + 2 * HOUR }),
    ]
    const storedBytes = 2 * MB + MIN_COUNTED_BYTES
    const retryAfterMs = (freeBytes: number) =>
      quotaRetryAfterMs(request(4 * MB - storedBytes + freeBytes), { storedBytes, images })
    expect(retryAfterMs(MIN_COUNTED_BYTES)).toBe(HOUR + PRUNE_DELAY)
    expect(retryAfterMs(MIN_COUNTED_BYTES + 1)).toBe(2 * HOUR + PRUNE_DELAY)
    expect(retryAfterMs(MIN_COUNTED_BYTES + MB + 1)).toBe(3 * HOUR + PRUNE_DELAY)
  })

  test.each<[string, Partial<QuotaImage>, number]>([
    ['its upload expires', { uploadExpiresAt: T + HOUR, deleteRequestedAt: T }, HOUR],
    ['its deletion was requested', { deleteRequestedAt: T - HOUR }, 0],
    ['its write was interrupted', { writeStartedAt: T - HOUR + SECOND }, SECOND],
  ])('ends when %s', (_, over, ms) => {
    const facts = { storedBytes: 4 * MB, images: [image({ bytes: 4 * MB, ...over })] }
    expect(quotaRetryAfterMs(request(MB), facts)).toBe(ms + PRUNE_DELAY)
  })
})
