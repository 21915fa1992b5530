/**
 * Whether a client was told exactly what the log says, and where not. Pure.
 */
import type { Told } from './diary.ts'

interface Event {
  id: string
  status: string
}

/** Null if it was; else the first place where it was not, in words. */
export function verdict(name: string, told: readonly Told[], logged: readonly Event[]): string | null {
  const at = Array.from({ length: Math.max(told.length, logged.length) }).findIndex(
    (_, i) => told[i]?.id !== logged[i]?.id || told[i]?.status !== logged[i]?.status,
  )
  if (at === -1) return sameCursor(name, told)
  const was = told[at]
  const should = logged[at]
  const place = `${name}, at event ${at + 1} of ${logged.length}`
  return `${place}: ${fault(told, logged, at)}; told ${say(was)}, the log says ${say(should)}`
}

function fault(told: readonly Told[], logged: readonly Event[], at: number): string {
  const was = told[at]
  const should = logged[at]
  const isLater = (events: readonly Event[], event: Event) => events.slice(at).some(same(event))
  if (was && told.slice(0, at).some(same(was))) return 'DOUBLED'
  if (was && !logged.some(same(was))) return 'NOT ITS OWN'
  if (should && !isLater(told, should)) return 'MISSING'
  return 'OUT OF ORDER'
}

function sameCursor(name: string, told: readonly Told[]): string | null {
  const before = new Set<string>()
  const at = told.findIndex(({ cursor }) => before.size === before.add(cursor).size)
  return at === -1 ? null : `${name}, at event ${at + 1} of ${told.length}: its CURSOR was another's before`
}

const same = (event: Event) => (other: Event) => other.id === event.id && other.status === event.status
const say = (event: Event | undefined) => (event ? `${event.status} of ${event.id}` : 'nothing')
