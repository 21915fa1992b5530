import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { PredictionEvent } from '../../src/domain/prediction.ts'
import { createRing } from '../../src/events/event-buffer.ts'
import { fresh, INPUT } from '../support/store.ts'

const event = (seq: number, text = ''): PredictionEvent => ({
  seq,
  type: 'QUEUED',
  previousStatus: null,
  occurredAt: 1,
  prediction: fresh({ metadata: text, input: { ...INPUT, prompt: text } }),
})

test('has every event behind its floor, in order, within its bytes', () => {
  const sizes = fc.array(fc.integer({ min: 0, max: 3000 }), { minLength: 1, maxLength: 60 })
  fc.assert(
    fc.property(
      fc.nat(1000),
      sizes,
      fc.nat(),
      fc.integer({ min: 1, max: 10 }),
      (start, texts, from, limit) => {
        const ring = createRing(start, 20_000)
        for (const [i, size] of texts.entries()) ring.push(event(start + i + 1, 'x'.repeat(size)))
        expect(ring.head).toBe(start + texts.length)
        expect(ring.floor).toBeGreaterThanOrEqual(start)
        const after = ring.floor + (from % (ring.head - ring.floor + 1))
        const even = (e: PredictionEvent) => e.seq % 2 === 0
        const wanted = []
        for (let seq = after + 1; seq <= ring.head; seq++) if (seq % 2 === 0) wanted.push(seq)
        const found = ring.after(after, limit, even)
        expect(found.events.map(e => e.seq)).toEqual(wanted.slice(0, limit))
        expect(found.through).toBe(wanted.length >= limit ? wanted[limit - 1] : ring.head)
        const held = ring.after(ring.floor, 100, () => true).events
        expect(JSON.stringify(held).length).toBeLessThanOrEqual(20_000)
      },
    ),
  )
})

test('keeps nothing once it is set elsewhere', () => {
  const ring = createRing(0, 20_000)
  ring.push(event(1))
  ring.reset(7)
  expect([ring.floor, ring.head]).toEqual([7, 7])
  ring.push(event(8))
  expect(ring.after(7, 10, () => true)).toEqual({ events: [event(8)], through: 8 })
})
