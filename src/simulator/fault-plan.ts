/**
 * A seeded plan of faults: which call fails, and how, drawn by the call's class and its number in the class.
 * Invariant: a seed gives the nth call of a class the same draw, in whatever order other calls come.
 */

import type { ApiCall } from './call.ts'
import type { Fault } from './fault.ts'
import { type FaultKind, READ_FAULTS, SUBMIT_FAULTS } from './fault-kinds.ts'
import { createSeededRandom, type SeededRandom } from './seeded-random.ts'
import type { PendingWebhook } from './simulator-store.ts'
import type { WebhookFault } from './webhook-sender.ts'

export interface FaultPlanOptions {
  seed: number
  /** Share of submits, reads and webhooks that fail, 0 to 1. Defaults: 0.25, 0.1, 0.3. */
  submits?: number
  reads?: number
  webhooks?: number
  /** Weights that replace those of fault kinds, by name. 0: never. */
  weights?: Readonly<Record<string, number>>
  /** Called with each fault as it is drawn. */
  onFault?: (kind: string, target: ApiCall | PendingWebhook) => void
}

export interface FaultPlan {
  fault(call: ApiCall): Fault | null
  webhookFault(webhook: PendingWebhook): WebhookFault | null
}

const DELAY_MS = [200, 3000] as const
const WEBHOOKS = { 'webhook lost': 2, 'webhook doubled': 1, 'webhook delayed': 1 }

const classifyCall = ({ method, path }: ApiCall) =>
  path.startsWith('/media/')
    ? 'upload'
    : path === '/predictions'
      ? 'list'
      : method === 'POST'
        ? 'submit'
        : path.endsWith('/result')
          ? 'poll'
          : 'read'

export function createFaultPlan(options: FaultPlanOptions): FaultPlan {
  const { seed, submits = 0.25, reads = 0.1, webhooks = 0.3, weights = {}, onFault = () => {} } = options
  const rootRandom = createSeededRandom(seed)
  const counts = new Map<string, number>()
  const used = new Set<string>()

  function nextIndex(name: string): number {
    const nth = (counts.get(name) ?? 0) + 1
    counts.set(name, nth)
    return nth
  }

  function pick(
    kinds: Readonly<Record<string, FaultKind>>,
    { path }: ApiCall,
    nth: number,
    random: SeededRandom,
  ) {
    const candidates = Object.entries(kinds)
      .filter(
        ([name, kind]) =>
          (kind.path?.test(path) ?? true) && nth <= (kind.firstCalls ?? nth) && !used.has(`${name} ${path}`),
      )
      .map(entry => [entry, weights[entry[0]] ?? entry[1].weight] as const)
    const [name, kind] = random.pickWeighted(candidates) ?? []
    if (kind?.once) used.add(`${name} ${path}`)
    return name === undefined ? null : { name, fault: kind!.make(random) }
  }

  return {
    fault(call) {
      const callClass = classifyCall(call)
      const isSubmit = callClass === 'submit'
      const random = rootRandom.fork(`${callClass} ${nextIndex(callClass)}`)
      const nth = isSubmit ? 1 : nextIndex(call.path)
      if (!random.chance(isSubmit ? submits : reads)) return null
      const drawn = pick(isSubmit ? SUBMIT_FAULTS : READ_FAULTS, call, nth, random)
      if (drawn !== null) onFault(`${isSubmit ? '' : `${callClass}: `}${drawn.name}`, call)
      return drawn?.fault ?? null
    },
    webhookFault(webhook) {
      const random = rootRandom.fork(`webhook ${nextIndex('webhook')}`)
      if (!random.chance(webhooks)) return null
      const name = random.pickWeighted(
        Object.entries(WEBHOOKS).map(([name, weight]) => [name, weights[name] ?? weight]),
      )
      if (name !== null) onFault(name, webhook)
      if (name === 'webhook delayed') return { delayMs: random.between(...DELAY_MS) }
      return name === null ? null : name === 'webhook lost' ? 'lost' : 'doubled'
    },
  }
}
