/**
 * One round of the three side by side, each in fresh processes, all alive to the end; they take turns, another one
 * first each time.
 * Invariant: what is compared was the same work: as many messages, of as many bytes, or the run fails.
 */
import { microseconds } from './clock.ts'
import { type Contestant, createContestant } from './contestant.ts'
import { NAMES, type Results } from './results.ts'
import type { Sizes } from './sizes.ts'

/** Subscribers that come and go before memory is first looked at: so much code runs once. */
const EARLY = 200
/** Events before the first that counts. */
const WARM_UP = 5
const KIB = 1024

export async function playRound(sizes: Sizes, round: number, results: Results): Promise<void> {
  await using three = new AsyncDisposableStack()
  const all: Contestant[] = []
  for (const name of NAMES) all.push(three.use(await createContestant(name)))
  const rotated = (by: number) => all.map((_, i) => all[(i + by) % all.length]!)

  for (const contestant of rotated(round)) await gather(contestant, sizes.audience, results)

  for (const { send } of all) await send(WARM_UP, 1)
  for (let shot = 0; shot < sizes.shots; shot++)
    for (const { name, send } of rotated(round + shot)) {
      const { first, last } = await send(1, 1)
      results.add('first', name, first)
      results.add('last', name, last)
    }

  for (const { load } of all) await load.ask('keep', sizes.clients)
  for (const { server, send } of all) {
    await server.ask('memory')
    for (const burst of [1, sizes.burst]) await send(sizes.burst, burst)
  }
  const deadline = Date.now() + sizes.slicesMs
  for (let slice = 0; slice < sizes.slices && Date.now() < deadline; slice++)
    for (const burst of [1, sizes.burst]) {
      const tallies = []
      for (const contestant of rotated(round + slice))
        tallies.push(await work(contestant, sizes, burst, results))
      compare(tallies)
    }
}

/** The audience takes its seats; what each costs. */
async function gather({ name, server, load, join }: Contestant, count: number, results: Results) {
  await join(EARLY)
  await load.ask('keep', 0)
  const before = await server.ask('memory')
  await join(count)
  const after = await server.ask('memory')
  results.add('rss', name, (after.rss - before.rss) / count / KIB)
  results.add('heap', name, (after.heap - before.heap) / count / KIB)
}

/** One slice; what a message costs in it. */
async function work(contestant: Contestant, sizes: Sizes, burst: number, results: Results) {
  const { name, server, load, send } = contestant
  await load.ask('tally')
  const cpu = await server.ask('cpu')
  const begun = microseconds()
  for (let sent = 0; sent < sizes.events; sent += burst) await send(burst, burst)
  const took = microseconds() - begun
  const spent = (await server.ask('cpu')) - cpu

  const tally = await load.ask('tally')
  if (tally.messages !== sizes.clients * sizes.events)
    throw new Error(
      `${name}: ${tally.messages} messages of ${sizes.events} events to ${sizes.clients} clients`,
    )
  results.add(burst === 1 ? 'cpuSingle' : 'cpuBurst', name, spent / tally.messages)
  results.add(burst === 1 ? 'rateSingle' : 'rateBurst', name, (tally.messages / took) * 1_000_000)
  return { name, ...tally }
}

function compare(tallies: readonly { messages: number; bytes: number }[]): void {
  const [one, ...others] = tallies
  if (others.some(other => other.messages !== one!.messages || other.bytes !== one!.bytes))
    throw new Error(`not the same bytes: ${JSON.stringify(tallies)}`)
}
