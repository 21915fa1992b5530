/**
 * Compares the delivered events with the event log. Pure.
 */
import type { DeliveredEvent } from './delivery-history.ts'

interface EventState {
  id: string
  status: string
}

/** Null if they agree; otherwise the first mismatch as text. */
export function findMismatch(
  name: string,
  delivered: readonly DeliveredEvent[],
  expected: readonly EventState[],
): string | null {
  const index = Array.from({ length: Math.max(delivered.length, expected.length) }).findIndex(
    (_, i) => delivered[i]?.id !== expected[i]?.id || delivered[i]?.status !== expected[i]?.status,
  )
  if (index === -1) return findRepeatedCursor(name, delivered)
  const actual = delivered[index]
  const expectedEvent = expected[index]
  const location = `${name}, at event ${index + 1} of ${expected.length}`
  return `${location}: ${classifyMismatch(delivered, expected, index)}; delivered ${describe(actual)}, the event log has ${describe(expectedEvent)}`
}

function classifyMismatch(
  delivered: readonly DeliveredEvent[],
  expected: readonly EventState[],
  index: number,
): string {
  const actual = delivered[index]
  const expectedEvent = expected[index]
  const occursLater = (events: readonly EventState[], event: EventState) =>
    events.slice(index).some(isSameEvent(event))
  if (actual && delivered.slice(0, index).some(isSameEvent(actual))) return 'DUPLICATE'
  if (actual && !expected.some(isSameEvent(actual))) return 'FOREIGN'
  if (expectedEvent && !occursLater(delivered, expectedEvent)) return 'MISSING'
  return 'OUT OF ORDER'
}

function findRepeatedCursor(name: string, delivered: readonly DeliveredEvent[]): string | null {
  const seenCursors = new Set<string>()
  const index = delivered.findIndex(({ cursor }) => seenCursors.size === seenCursors.add(cursor).size)
  return index === -1
    ? null
    : `${name}, at event ${index + 1} of ${delivered.length}: its CURSOR was used before`
}

const isSameEvent = (event: EventState) => (other: EventState) =>
  other.id === event.id && other.status === event.status
const describe = (event: EventState | undefined) => (event ? `${event.status} of ${event.id}` : 'nothing')
