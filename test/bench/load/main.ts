/**
 * The process of one server's subscribers.
 */
import { setTimeout as pause } from 'node:timers/promises'
import { microseconds } from '../clock.ts'
import { answer } from '../remote.ts'
import { type Client, connect, type Target } from './client.ts'
import { type Arrival, createLog } from './log.ts'

/** Handshakes at once: less than a listener's backlog. */
const AT_ONCE = 100
/** Whoever was ended while it slept learns it in this time. */
const AWAKE_MS = 1000

let live: Client[] = []
let stalled: Client[] = []
const waiting = new Map<number, () => void>()
const log = createLog(
  () => live.length,
  number => waiting.get(number)?.(),
)

const commands = {
  /** So many more. */
  async open(target: Target, count: number) {
    let left = count
    const some = async () => {
      while (left-- > 0) live.push(await connect(target, log, null))
    }
    await Promise.all(Array.from({ length: AT_ONCE }, some))
  },

  /** Once everybody has that event; null if that takes longer. */
  async delivered(number: number, patienceMs: number): Promise<Arrival | null> {
    if (log.arrival(number) === null) {
      const { promise, resolve } = Promise.withResolvers<void>()
      const timer = setTimeout(resolve, patienceMs)
      waiting.set(number, resolve)
      await promise
      clearTimeout(timer)
      waiting.delete(number)
    }
    return log.arrival(number)
  },

  tally: () => log.tally(),

  /** Closes all but so many. */
  async keep(count: number) {
    await Promise.all(live.slice(count).map(client => client.close()))
    live = live.slice(0, count)
  },

  /** Everybody stops reading. */
  stall() {
    for (const client of live) client.stall()
    stalled = live
    live = []
  },

  /** They read again; answers how many the server had not ended. What they read now is held to the same order. */
  async wake() {
    for (const client of stalled) client.wake()
    await pause(AWAKE_MS)
    return stalled.filter(client => client.isOpen).length
  },

  /** One more client, from that cursor until the feed has caught up. */
  async replay(target: Target, after: string | null) {
    const client = await connect(target, log, after)
    const begun = microseconds()
    const cursor = await client.caughtUp
    const took = microseconds() - begun
    await client.close()
    return { cursor, received: client.received, microseconds: took }
  },
}

export type LoadCommands = typeof commands
answer(commands)
