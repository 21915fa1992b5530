/**
 * A round of the three servers side by side, each in fresh processes that live to the end. They are measured in
 * turn, each time with another server first.
 * Invariant: all three did the same work, with as many messages and bytes, or the run fails.
 */
import { microseconds } from './clock.ts'
import { NAMES, type Results } from './results.ts'
import { type ServerUnderTest, startServerUnderTest } from './server-under-test.ts'
import type { Sizes } from './sizes.ts'

/** Subscribers that come and go before memory is first measured, so that this code has run once. */
const WARM_UP_CLIENTS = 200
/** Events before the first that counts. */
const WARM_UP_EVENTS = 5
const KIB = 1024

export async function runRound(sizes: Sizes, round: number, results: Results): Promise<void> {
  await using stack = new AsyncDisposableStack()
  const servers: ServerUnderTest[] = []
  for (const name of NAMES) servers.push(stack.use(await startServerUnderTest(name)))
  const rotated = (by: number) => servers.map((_, i) => servers[(i + by) % servers.length]!)

  for (const serverUnderTest of rotated(round)) await addAudience(serverUnderTest, sizes.audience, results)

  for (const { send } of servers) await send(WARM_UP_EVENTS, 1)
  for (let event = 0; event < sizes.singleEvents; event++)
    for (const { name, send } of rotated(round + event)) {
      const { first, last } = await send(1, 1)
      results.add('first', name, first)
      results.add('last', name, last)
    }

  for (const { load } of servers) await load.call('keep', sizes.clients)
  for (const { server, send } of servers) {
    await server.call('memory')
    for (const burst of [1, sizes.burst]) await send(sizes.burst, burst)
  }
  const deadline = Date.now() + sizes.maxSlicesMs
  for (let slice = 0; slice < sizes.slices && Date.now() < deadline; slice++)
    for (const burst of [1, sizes.burst]) {
      const tallies = []
      for (const serverUnderTest of rotated(round + slice))
        tallies.push(await measureSlice(serverUnderTest, sizes, burst, results))
      assertSameWork(tallies)
    }
}

/** Adds the audience, and measures the memory of each connection. */
async function addAudience(
  { name, server, load, addSubscribers }: ServerUnderTest,
  count: number,
  results: Results,
) {
  await addSubscribers(WARM_UP_CLIENTS)
  await load.call('keep', 0)
  const before = await server.call('memory')
  await addSubscribers(count)
  const after = await server.call('memory')
  results.add('rss', name, (after.rss - before.rss) / count / KIB)
  results.add('heap', name, (after.heap - before.heap) / count / KIB)
}

/** Measures one slice: the cost of a message. */
async function measureSlice(serverUnderTest: ServerUnderTest, sizes: Sizes, burst: number, results: Results) {
  const { name, server, load, send } = serverUnderTest
  await load.call('tally')
  const cpu = await server.call('cpu')
  const startedAt = microseconds()
  for (let sent = 0; sent < sizes.events; sent += burst) await send(burst, burst)
  const elapsed = microseconds() - startedAt
  const cpuSpent = (await server.call('cpu')) - cpu

  const tally = await load.call('tally')
  if (tally.messages !== sizes.clients * sizes.events)
    throw new Error(
      `${name}: ${tally.messages} messages of ${sizes.events} events to ${sizes.clients} clients`,
    )
  results.add(burst === 1 ? 'cpuSingle' : 'cpuBurst', name, cpuSpent / tally.messages)
  results.add(burst === 1 ? 'rateSingle' : 'rateBurst', name, (tally.messages / elapsed) * 1_000_000)
  return { name, ...tally }
}

function assertSameWork(tallies: readonly { messages: number; bytes: number }[]): void {
  const [first, ...others] = tallies
  if (others.some(other => other.messages !== first!.messages || other.bytes !== first!.bytes))
    throw new Error(`not the same bytes: ${JSON.stringify(tallies)}`)
}
