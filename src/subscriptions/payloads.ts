/**
 * The payload of an event for a question: made once, kept for those who come a little later.
 * Invariant: bounded in bytes; two who ask at the same time get the same one.
 */
import { LRUCache } from 'lru-cache'
import type { PredictionEvent } from '../domain/prediction.ts'
import type { Payload } from './shared-operation.ts'
import type { Asked } from './subscription-group.ts'

export interface Payloads {
  of(asked: Asked, event: PredictionEvent): Payload | Promise<Payload>
}

const KEPT_BYTES = 8 * 1024 * 1024
/** What one takes beside its bytes, roughly. */
const OVERHEAD = 256

export function createPayloads(): Payloads {
  const kept = new LRUCache<string, Payload>({
    maxSize: KEPT_BYTES,
    sizeCalculation: ({ tail }) => tail.length + OVERHEAD,
  })
  const underway = new Map<string, Promise<Payload>>()

  return {
    of({ question, source }, event) {
      const { key } = question
      if (typeof key === 'symbol') return question.answer(source.itemOf(event))
      const name = `${key}${event.seq}`
      const known = kept.get(name) ?? underway.get(name)
      if (known) return known
      const payload = question.answer(source.itemOf(event))
      if (!(payload instanceof Promise)) {
        kept.set(name, payload)
        return payload
      }
      underway.set(name, payload)
      return payload
        .then(made => {
          kept.set(name, made)
          return made
        })
        .finally(() => underway.delete(name))
    },
  }
}
