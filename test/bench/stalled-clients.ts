/**
 * The cost to the gateway of clients that stopped reading, beside one that reads. The log grows in memory too, so a
 * second gateway without stalled clients does the same at the same time.
 */
import { startServerUnderTest } from './server-under-test.ts'
import type { Sizes } from './sizes.ts'

export interface StalledResult {
  stalled: number
  events: number
  /**
   * Growth of the resident memory in bytes: at the end after garbage collection, and at its peak with garbage.
   */
  residentGrowth: number
  peakGrowth: number
  /** Stalled clients that the server had not ended. */
  stillConnected: number
}

/** Events between two waits for the client that reads. */
const EVENTS_PER_CHECK = 500

export const measureStalled = ({
  stalled,
  stalledEvents,
  maxStalledMs,
}: Sizes): Promise<[StalledResult, StalledResult]> => {
  const deadline = Date.now() + maxStalledMs
  return Promise.all([run(stalled, stalledEvents, deadline), run(0, stalledEvents, deadline)])
}

async function run(stalled: number, maxEvents: number, deadline: number): Promise<StalledResult> {
  await using ours = await startServerUnderTest('ours')
  const { server, load, addSubscribers, send } = ours
  if (stalled > 0) {
    await addSubscribers(stalled)
    await load.call('stall')
  }
  await addSubscribers(1)

  const before = await server.call('memory')
  let events = 0
  let peakRss = before.rss
  while (events < maxEvents && Date.now() < deadline) {
    await send(EVENTS_PER_CHECK, 10)
    events += EVENTS_PER_CHECK
    peakRss = Math.max(peakRss, await server.call('rss'))
  }
  const after = await server.call('memory')
  const stillConnected = await load.call('resume')
  return {
    stalled,
    events,
    residentGrowth: after.rss - before.rss,
    peakGrowth: peakRss - before.rss,
    stillConnected,
  }
}
