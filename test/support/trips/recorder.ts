/**
 * Records trips through src. A trip is the list of files whose functions are entered on behalf of one request,
 * connection or event.
 * Invariant: the async context says for whom a function runs, so work beside a trip does not count. Async context does
 * not flow from a commit to the readers that it wakes: the trip of an event therefore has everything that runs neither
 * for its writer nor for a worker. The gateway must be idle otherwise.
 */
import { AsyncLocalStorage } from 'node:async_hooks'

export type TripStart = 'request' | 'connection' | 'commit'

export interface Trip {
  /** Files in the order of their entries. A file is repeated if another file was entered in between. */
  readonly path: readonly string[]
}

interface Recording {
  readonly start: TripStart
  /** Port on which the request or the connection arrives. */
  readonly port: number
  /** Text of the answer that ends the trip. */
  readonly endMark: string
  readonly path: string[]
  readonly finish: (trip: Trip) => void
  hasStarted: boolean
}

const owner = new AsyncLocalStorage<Recording | 'worker' | 'writer'>()
/** The recording of a request or a connection. Its later events run outside of its async context. */
const recordings = new WeakMap<object, Recording>()
let current: Recording | null = null
let lastEntryAt = 0

/** Instrumented functions call it at their start. */
export function enter(file: string): void {
  const runsFor = owner.getStore()
  if (runsFor === 'worker') return
  lastEntryAt = performance.now()
  if (current?.hasStarted !== true || runsFor === 'writer') return
  if (runsFor !== current && current.start !== 'commit') return
  if (current.path.at(-1) !== file) current.path.push(file)
}

/** The rest of this async context belongs to a worker. */
export function enterWorker(file: string): void {
  enter(file)
  owner.enterWith('worker')
}

/** Records the next trip that starts so. It ends when bytes with `endMark` are written to a socket. */
export const recordTrip = (start: TripStart, port: number, endMark: string): Promise<Trip> =>
  new Promise(finish => {
    current = { start, port, endMark, path: [], finish, hasStarted: false }
  })

export const runAsWriter = <Result>(work: () => Result): Result => owner.run('writer', work)

/** Whether no function was entered for `ms`, except for a worker. */
export const isIdleFor = (ms: number): boolean => performance.now() - lastEntryAt >= ms

/** Runs `work` as the start of the trip that is to be recorded, if it starts so. */
export function startTrip(start: TripStart, port: number, subject: object, work: () => unknown): unknown {
  if (current === null || current.hasStarted || current.start !== start || current.port !== port)
    return work()
  current.hasStarted = true
  recordings.set(subject, current)
  return owner.run(current, work)
}

/** Starts the trip of an event, after a commit. */
export function startEventTrip(): void {
  if (current?.start === 'commit') current.hasStarted = true
}

/** Runs `work` on behalf of the trip that started with `subject`, if there is one. */
export function continueTrip(subject: object | undefined, work: () => unknown): unknown {
  const recording = subject && recordings.get(subject)
  return recording === undefined ? work() : owner.run(recording, work)
}

/** Ends the trip if these bytes are its answer. */
export function endTrip(bytes: string | Uint8Array): void {
  if (current?.hasStarted !== true || !Buffer.from(bytes).includes(current.endMark)) return
  const { path, finish } = current
  current = null
  finish({ path })
}
