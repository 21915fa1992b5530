import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { PredictionEvent } from '../../src/domain/prediction.ts'
import { createEventBuffer } from '../../src/events/event-buffer.ts'
import { INPUT, newPrediction } from '../support/store.ts'

const event = (seq: number, text = ''): PredictionEvent => ({
  seq,
  type: 'QUEUED',
  previousStatus: null,
  occurredAt: 1,
  prediction: newPrediction({ metadata: text, input: { ...INPUT, prompt: text } }),
})

test('has every event after its first seq, in order, within its bytes', () => {
  const sizes = fc.array(fc.integer({ min: 0, max: 3000 }), { minLength: 1, maxLength: 60 })
  fc.assert(
    fc.property(
      fc.nat(1000),
      sizes,
      fc.nat(),
      fc.integer({ min: 1, max: 10 }),
      (start, texts, from, limit) => {
        const eventBuffer = createEventBuffer(start, 20_000)
        for (const [i, size] of texts.entries()) eventBuffer.push(event(start + i + 1, 'x'.repeat(size)))
        expect(eventBuffer.head).toBe(start + texts.length)
        expect(eventBuffer.bufferedAfter).toBeGreaterThanOrEqual(start)
        const after = eventBuffer.bufferedAfter + (from % (eventBuffer.head - eventBuffer.bufferedAfter + 1))
        const even = (e: PredictionEvent) => e.seq % 2 === 0
        const wanted = []
        for (let seq = after + 1; seq <= eventBuffer.head; seq++) if (seq % 2 === 0) wanted.push(seq)
        const found = eventBuffer.read(after, limit, even)
        expect(found.events.map(e => e.seq)).toEqual(wanted.slice(0, limit))
        expect(found.scannedUpTo).toBe(wanted.length >= limit ? wanted[limit - 1] : eventBuffer.head)
        const buffered = eventBuffer.read(eventBuffer.bufferedAfter, 100, () => true).events
        expect(JSON.stringify(buffered).length).toBeLessThanOrEqual(20_000)
      },
    ),
  )
})

test('keeps nothing after a reset', () => {
  const eventBuffer = createEventBuffer(0, 20_000)
  eventBuffer.push(event(1))
  eventBuffer.reset(7)
  expect([eventBuffer.bufferedAfter, eventBuffer.head]).toEqual([7, 7])
  eventBuffer.push(event(8))
  expect(eventBuffer.read(7, 10, () => true)).toEqual({ events: [event(8)], scannedUpTo: 8 })
})
