/**
 * How fast the gateway replays missed events to one client.
 */

import { median } from './results.ts'
import { startServerUnderTest } from './server-under-test.ts'
import type { Sizes } from './sizes.ts'

/** Events a second. Each replay starts at the same cursor. */
export async function measureReplay({ replayed, replays }: Sizes): Promise<number> {
  await using ours = await startServerUnderTest('ours')
  const { server, load, target } = ours
  const { cursor } = await load.call('replay', target, null)
  await server.call('publish', replayed, 10)

  const rates = []
  for (let i = 0; i < replays; i++) {
    const { received, microseconds } = await load.call('replay', target, cursor)
    if (received !== replayed) throw new Error(`${received} of ${replayed} missed events were replayed`)
    rates.push((received / microseconds) * 1_000_000)
  }
  return median(rates)
}
