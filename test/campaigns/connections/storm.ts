/**
 * What befalls the network: hands that each pick a link and do something to it, again and again.
 * Invariant: when the storm is over nothing is left stalled, halved or about to tear.
 */

import type { Random } from '../../../src/simulator/seeded-random.ts'
import { rest } from '../../support/rest.ts'
import type { Crowd } from './crowd.ts'
import type { Link, Network, Way } from './network.ts'
import type { Plan } from './plan.ts'

export interface StormOptions {
  network: Network
  crowd: Crowd
  random: Random
  plan: Plan
  signal: AbortSignal
}

const WAYS: readonly Way[] = ['up', 'down']
const BETWEEN_ACTS_MS = [10, 300] as const
const HALF_MS = [50, 1500] as const
/** Tears most often in an event, of 300 bytes or of 120 KB. */
const TEAR_BYTES = [1, 3000] as const
/** One link in so many is torn in its handshake, its subscribe or the first it hears. */
const DOOMED = 1 / 8
const DOOM_BYTES = [1, 1200] as const

export async function storm({ network, crowd, random, plan, signal }: StormOptions): Promise<void> {
  const acts: readonly ((link: Link, random: Random) => Promise<void> | void)[] = [
    link => link.cut(),
    (_, random) => random.pick(crowd.members).drop(),
    (link, random) => link.tear('down', random.between(...TEAR_BYTES)),
    (link, random) => link.tear('down', random.between(...TEAR_BYTES)),
    async (_, random) => {
      const link = busiest(network, random)
      link.stall()
      await rest(random.between(...plan.stallMs), signal)
      link.wake()
    },
    async (link, random) => {
      link.halve(random.pick(WAYS))
      await rest(random.between(...HALF_MS), signal)
      link.cut()
    },
  ]

  async function hand(random: Random): Promise<void> {
    while (!signal.aborted) {
      await rest(random.between(...BETWEEN_ACTS_MS), signal)
      if (network.links.size > 0) await random.pick(acts)(random.pick([...network.links]), random)
    }
  }

  const doom = random.fork('doom')
  network.onLink = link => {
    if (doom.chance(DOOMED)) link.tear(doom.pick(WAYS), doom.between(...DOOM_BYTES))
  }
  await Promise.all(Array.from({ length: plan.hands }, (_, i) => hand(random.fork(`hand ${i}`))))
  network.onLink = () => {}
  for (const link of network.links) for (const way of WAYS) link.tear(way, Number.POSITIVE_INFINITY)
}

/** Of a few: a stall is felt where much is to come. */
const busiest = ({ links }: Network, random: Random): Link =>
  Array.from({ length: 4 }, () => random.pick([...links])).reduce((a, b) => (a.came > b.came ? a : b))
