/**
 * The process of one server's subscribers.
 */
import { setTimeout as pause } from 'node:timers/promises'
import { microseconds } from '../clock.ts'
import { serveCommands } from '../process-rpc.ts'
import { connect, type FeedClient, type ServerAddress } from './client.ts'
import { type Arrival, createDeliveryLog } from './delivery-log.ts'

/** Concurrent handshakes: fewer than a listener's backlog. */
const CONCURRENT_HANDSHAKES = 100
/** A client that the server ended while it was stalled notices within this time. */
const RESUME_SETTLE_MS = 1000

let activeClients: FeedClient[] = []
let stalledClients: FeedClient[] = []
const waiters = new Map<number, () => void>()
const log = createDeliveryLog(
  () => activeClients.length,
  number => waiters.get(number)?.(),
)

const commands = {
  /** Opens `count` more clients. */
  async open(target: ServerAddress, count: number) {
    let left = count
    const connectLoop = async () => {
      while (left-- > 0) activeClients.push(await connect(target, log, null))
    }
    await Promise.all(Array.from({ length: CONCURRENT_HANDSHAKES }, connectLoop))
  },

  /** Resolves once every client has that event. Null after the time-out. */
  async delivered(number: number, timeoutMs: number): Promise<Arrival | null> {
    if (log.arrival(number) === null) {
      const { promise, resolve } = Promise.withResolvers<void>()
      const timer = setTimeout(resolve, timeoutMs)
      waiters.set(number, resolve)
      await promise
      clearTimeout(timer)
      waiters.delete(number)
    }
    return log.arrival(number)
  },

  tally: () => log.tally(),

  /** Closes all but `count` clients. */
  async keep(count: number) {
    await Promise.all(activeClients.slice(count).map(client => client.close()))
    activeClients = activeClients.slice(0, count)
  },

  /** Makes every client stop reading. */
  stall() {
    for (const client of activeClients) client.stall()
    stalledClients = activeClients
    activeClients = []
  },

  /**
   * Makes the stalled clients read again. Returns how many the server had not ended. Their later events are checked,
   * too.
   */
  async resume() {
    for (const client of stalledClients) client.resume()
    await pause(RESUME_SETTLE_MS)
    return stalledClients.filter(client => client.isOpen).length
  },

  /** Adds one client, from that cursor until FeedCaughtUp. */
  async replay(target: ServerAddress, after: string | null) {
    const client = await connect(target, log, after)
    const startedAt = microseconds()
    const cursor = await client.caughtUpCursor
    const elapsed = microseconds() - startedAt
    await client.close()
    return { cursor, received: client.received, microseconds: elapsed }
  },
}

export type LoadCommands = typeof commands
serveCommands(commands)
