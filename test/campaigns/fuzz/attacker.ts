/**
 * The process that attacks: it has the lowest priority, so that it takes no processor time from the gateway.
 */
import { once } from 'node:events'
import { setPriority } from 'node:os'
import { createSeededRandom } from '../../../src/simulator/seeded-random.ts'
import { ATTACKS, type AttackName, type AttackTarget } from './attacks.ts'

export interface AttackOrder {
  name: AttackName
  target: AttackTarget
  seed: number
  ms: number
}

/** A lost connection is no reason to end. */
process.on('uncaughtException', () => {})
setPriority(19)
const [{ name, target, seed, ms }] = (await once(process, 'message')) as [AttackOrder]
const stop = new AbortController()
const timer = setTimeout(() => stop.abort(), ms)
const numbers = await ATTACKS[name](target, createSeededRandom(seed), stop.signal)
clearTimeout(timer)
process.send!(numbers, () => process.exit())
