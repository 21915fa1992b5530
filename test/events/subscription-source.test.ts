import { createCipheriv } from 'node:crypto'
import { expect, test, vi } from 'vitest'
import { fullScope } from '../../src/domain/access-scope.ts'
import type { AppId } from '../../src/domain/prediction.ts'
import { createCursors } from '../../src/events/cursor.ts'
import { createSubscriptionSources, type FeedItem } from '../../src/events/subscription-source.ts'
import type { Store } from '../../src/store/store.ts'
import { newPrediction } from '../support/store.ts'

vi.mock('node:crypto', async importActual => {
  const crypto = await importActual<typeof import('node:crypto')>()
  return { ...crypto, createCipheriv: vi.fn(crypto.createCipheriv) }
})
const encryptions = vi.mocked(createCipheriv)

const APP = 'an app' as AppId
const cursorsOf = createCursors(Buffer.alloc(16), Buffer.alloc(8))

test('the cursor of an event is encrypted once, for the item and for its message', () => {
  const source = createSubscriptionSources({} as Store, cursorsOf).followFeed(fullScope(APP), null)
  const event = {
    seq: 7,
    mark: 9,
    type: 'QUEUED',
    previousStatus: null,
    occurredAt: 1,
    prediction: newPrediction({}),
  } as const
  const { value, cursor } = source.toMessage(event)
  expect(encryptions).toHaveBeenCalledTimes(1)
  expect(cursorsOf(APP).decode(cursor!)).toEqual({ seq: 7, mark: 9 })
  expect((value as FeedItem).cursor).toBe(cursor)
  expect(value).toMatchObject(event)
})
