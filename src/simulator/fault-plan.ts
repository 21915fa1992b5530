/**
 * A plan of faults by seed: which call goes wrong, and how. Drawn by the class of a call and its number in it.
 * Invariant: a seed gives the nth call of a class the same chances again, in whatever order other calls come.
 */

import type { Call } from './call.ts'
import type { Fault } from './fault.ts'
import { type Kind, READS, SUBMITS } from './fault-kinds.ts'
import { createRandom, type Random } from './seeded-random.ts'
import type { Webhook } from './simulator-store.ts'
import type { WebhookFault } from './webhook-sender.ts'

export interface FaultPlanOptions {
  seed: number
  /** How many of the submits, of the reads and of the webhooks go wrong; 0 to 1. */
  submits?: number
  reads?: number
  webhooks?: number
  /** Other weights of kinds, by name; 0 is never. */
  weights?: Readonly<Record<string, number>>
  /** Told of each fault as it is drawn. */
  met?: (kind: string, of: Call | Webhook) => void
}

export interface FaultPlan {
  fault(call: Call): Fault | null
  webhookFault(webhook: Webhook): WebhookFault | null
}

const DELAY_MS = [200, 3000] as const
const WEBHOOKS = { 'webhook lost': 2, 'webhook doubled': 1, 'webhook delayed': 1 }

const classOf = ({ method, path }: Call) =>
  path.startsWith('/media/')
    ? 'upload'
    : path === '/predictions'
      ? 'list'
      : method === 'POST'
        ? 'submit'
        : path.endsWith('/result')
          ? 'look'
          : 'read'

export function createFaultPlan(options: FaultPlanOptions): FaultPlan {
  const { seed, submits = 0.25, reads = 0.1, webhooks = 0.3, weights = {}, met = () => {} } = options
  const chances = createRandom(seed)
  const counts = new Map<string, number>()
  const spent = new Set<string>()

  function count(what: string): number {
    const nth = (counts.get(what) ?? 0) + 1
    counts.set(what, nth)
    return nth
  }

  function pick(kinds: Readonly<Record<string, Kind>>, { path }: Call, nth: number, random: Random) {
    const among = Object.entries(kinds)
      .filter(
        ([name, kind]) =>
          (kind.path?.test(path) ?? true) && nth <= (kind.within ?? nth) && !spent.has(`${name} ${path}`),
      )
      .map(entry => [entry, weights[entry[0]] ?? entry[1].weight] as const)
    const [name, kind] = random.weigh(among) ?? []
    if (kind?.once) spent.add(`${name} ${path}`)
    return name === undefined ? null : { name, fault: kind!.make(random) }
  }

  return {
    fault(call) {
      const kindOfCall = classOf(call)
      const isSubmit = kindOfCall === 'submit'
      const random = chances.fork(`${kindOfCall} ${count(kindOfCall)}`)
      const nth = isSubmit ? 1 : count(call.path)
      if (!random.chance(isSubmit ? submits : reads)) return null
      const drawn = pick(isSubmit ? SUBMITS : READS, call, nth, random)
      if (drawn !== null) met(`${isSubmit ? '' : `${kindOfCall}: `}${drawn.name}`, call)
      return drawn?.fault ?? null
    },
    webhookFault(webhook) {
      const random = chances.fork(`webhook ${count('webhook')}`)
      if (!random.chance(webhooks)) return null
      const name = random.weigh(
        Object.entries(WEBHOOKS).map(([name, weight]) => [name, weights[name] ?? weight]),
      )
      if (name !== null) met(name, webhook)
      if (name === 'webhook delayed') return { delayMs: random.between(...DELAY_MS) }
      return name === null ? null : name === 'webhook lost' ? 'lost' : 'doubled'
    },
  }
}
