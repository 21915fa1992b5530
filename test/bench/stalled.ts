/**
 * What clients cost the gateway that have stopped reading, beside one that reads. The log grows in memory too, so a
 * second gateway without them does the same at the same time.
 */
import { createContestant } from './contestant.ts'
import type { Sizes } from './sizes.ts'

export interface Stalled {
  stalled: number
  events: number
  /** Growth of the resident memory in bytes: at the end without garbage, and at its highest with it. */
  grown: number
  highest: number
  /** Stalled clients that the server had not ended. */
  remained: number
}

/** Events between two looks at the one that reads. */
const STRIDE = 500

export const measureStalled = ({ stalled, stalledEvents, stalledMs }: Sizes): Promise<[Stalled, Stalled]> => {
  const deadline = Date.now() + stalledMs
  return Promise.all([run(stalled, stalledEvents, deadline), run(0, stalledEvents, deadline)])
}

async function run(stalled: number, most: number, deadline: number): Promise<Stalled> {
  await using ours = await createContestant('ours')
  const { server, load, join, send } = ours
  if (stalled > 0) {
    await join(stalled)
    await load.ask('stall')
  }
  await join(1)

  const before = await server.ask('memory')
  let events = 0
  let highest = before.rss
  while (events < most && Date.now() < deadline) {
    await send(STRIDE, 10)
    events += STRIDE
    highest = Math.max(highest, await server.ask('rss'))
  }
  const after = await server.ask('memory')
  const remained = await load.ask('wake')
  return { stalled, events, grown: after.rss - before.rss, highest: highest - before.rss, remained }
}
