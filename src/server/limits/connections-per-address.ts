/**
 * How many are here at once from one address: sockets, and behind a trusted proxy what each of its clients has open.
 * Invariant: who was let in counts until it closes.
 */
import type { EventEmitter } from 'node:events'
import { networkOf } from './client-network.ts'

export interface Crowd {
  /** Whether it may stay; then it counts until it closes. */
  admit(address: string, who: EventEmitter): boolean
}

export function createCrowd(mostPerAddress: number): Crowd {
  const counts = new Map<string, number>()

  return {
    admit(address, who) {
      const network = networkOf(address)
      const count = counts.get(network) ?? 0
      if (count >= mostPerAddress) return false
      counts.set(network, count + 1)
      who.once('close', () => {
        const left = counts.get(network)! - 1
        if (left > 0) counts.set(network, left)
        else counts.delete(network)
      })
      return true
    },
  }
}
