/**
 * Sizes of `npm run bench`, and of `--quick`. `--events N` sets the events for the stalled clients; `--only PART`
 * measures that part alone.
 */
import { parseArgs } from 'node:util'

export interface Sizes {
  /** Each round has fresh processes. */
  rounds: number
  /** No further round is started that would end later than this. */
  maxRoundsMs: number
  /** Clients for the delays of one event, and for the memory of a connection. */
  audience: number
  /** Single events to the audience, per round. */
  singleEvents: number
  /** Clients for the cost of a message. */
  clients: number
  /** Slices of each server in a round, and events in each; a multiple of `burst`. */
  slices: number
  events: number
  /** Events in one event-loop turn. */
  burst: number
  /** No further slice is started after this time in a round. */
  maxSlicesMs: number
  replayed: number
  replays: number
  stalled: number
  /** Large, since the kernel itself buffers about 10,000 for a client that reads nothing. */
  stalledEvents: number
  /** No further event is created after this time. */
  maxStalledMs: number
}

const FULL: Sizes = {
  rounds: 3,
  maxRoundsMs: 220_000,
  audience: 5000,
  singleEvents: 7,
  clients: 5000,
  slices: 2,
  events: 20,
  burst: 10,
  maxSlicesMs: 60_000,
  replayed: 10_000,
  replays: 5,
  stalled: 100,
  stalledEvents: 100_000,
  maxStalledMs: 150_000,
}

const QUICK: Sizes = {
  ...FULL,
  rounds: 1,
  audience: 1000,
  singleEvents: 5,
  clients: 200,
  maxSlicesMs: 6000,
  replayed: 2000,
  stalled: 10,
  stalledEvents: 20_000,
  maxStalledMs: 8000,
}

/** Parts that can be measured alone. */
const PARTS = ['fair', 'polling', 'requests', 'scale', 'start']

/** Null: everything is measured. */
export function parsePart(args: string[]): string | null {
  const { only = null } = parseOptions(args)
  if (only !== null && !PARTS.includes(only))
    throw new Error(`--only ${only}: expected one of ${PARTS.join(', ')}`)
  return only
}

export function parseSizes(args: string[]): Sizes {
  const values = parseOptions(args)
  const sizes = values.quick ? QUICK : FULL
  const stalledEvents = Number(values.events ?? sizes.stalledEvents)
  if (!Number.isInteger(stalledEvents)) throw new Error(`--events ${values.events}: expected a whole number`)
  return { ...sizes, stalledEvents }
}

const parseOptions = (args: string[]) =>
  parseArgs({
    args,
    options: { quick: { type: 'boolean' }, events: { type: 'string' }, only: { type: 'string' } },
  }).values
