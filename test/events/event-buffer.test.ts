import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { PredictionEvent } from '../../src/domain/prediction.ts'
import { createEventBuffer } from '../../src/events/event-buffer.ts'
import { INPUT, newPrediction } from '../support/store.ts'

const event = (seq: number, text = ''): PredictionEvent => ({
  seq,
  mark: null,
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
        const head = start + texts.length
        expect(eventBuffer.bufferedAfter).toBeGreaterThanOrEqual(start)
        const after = eventBuffer.bufferedAfter + (from % (head - eventBuffer.bufferedAfter + 1))
        const later = []
        for (let seq = after + 1; seq <= head; seq++) later.push(seq)
        if (start < eventBuffer.bufferedAfter)
          expect(eventBuffer.eventsAfter(eventBuffer.bufferedAfter - 1, limit)).toBeNull()
        expect(eventBuffer.eventsAfter(after, limit)!.map(e => e.seq)).toEqual(later.slice(0, limit))
        const buffered = eventBuffer.eventsAfter(eventBuffer.bufferedAfter, 100)
        expect(JSON.stringify(buffered).length).toBeLessThanOrEqual(20_000)
      },
    ),
  )
})

test('keeps nothing after a reset', () => {
  const eventBuffer = createEventBuffer(0, 20_000)
  eventBuffer.push(event(1))
  eventBuffer.reset(7)
  expect(eventBuffer.bufferedAfter).toBe(7)
  expect(eventBuffer.eventsAfter(7, 10)).toEqual([])
  eventBuffer.push(event(8))
  expect(eventBuffer.eventsAfter(7, 10)).toEqual([event(8)])
})
