/**
 * The simulator in our own process: what its ledger says, which POST met which fault, and the moments a kill is aimed at.
 * Invariant: while it is calm, nothing new goes wrong.
 */
import { join } from 'node:path'
import { createFaultPlan } from '../../../src/simulator/fault-plan.ts'
import type { Random } from '../../../src/simulator/seeded-random.ts'
import { type Call, createSimulator, type Simulator } from '../../../src/simulator/simulator.ts'
import { openLedger } from '../../../src/simulator/simulator-store.ts'
import type { LedgerJob, Post } from './case.ts'
import { markerOf } from './marker.ts'
import type { Plan } from './plan.ts'

export interface Upstream extends AsyncDisposable {
  readonly simulator: Simulator
  readonly posts: readonly Post[]
  /** How often each kind of fault was met. */
  readonly met: ReadonlyMap<string, number>
  jobs(): LedgerJob[]
  /** Nothing goes wrong at first. */
  rage(): void
  calm(): void
  /** `strike` is called once, within the nth next call of that kind, before the call takes effect. */
  aim(at: Prey, nth: number, strike: () => void): void
  /** At nothing any more. */
  spare(): void
}

export type Prey = 'submit' | 'look' | 'webhook'

export const UPSTREAM_KEY = 'ws-torture-key'
export const WEBHOOK_SECRET = 'whsec_torture-of-tests'

const ALONE_MS = 250
const SPARED = 0.8

export async function createUpstream(
  folder: string,
  { faults }: Plan,
  random: Random,
  weights: Record<string, number>,
): Promise<Upstream> {
  const file = join(folder, 'ledger.db')
  const posts: Post[] = []
  const met = new Map<string, number>()
  let isCalm = true
  let drawn: string | null = null
  let aimed: { at: Prey; left: number; strike: () => void } | null = null
  let before = 0

  function meet(kind: string): void {
    drawn = kind
    met.set(kind, (met.get(kind) ?? 0) + 1)
  }
  const mercy = random.fork('mercy')
  const plan = createFaultPlan({ seed: random.between(0, 2 ** 31), ...faults, weights, met: meet })

  function strikeAt(prey: Prey): void {
    if (aimed?.at !== prey || --aimed.left > 0) return
    const { strike } = aimed
    aimed = null
    strike()
  }

  /** The POST that comes alone is the gateway's trial after a pause: were as many of them to fail, it would only pause. */
  function isSpared(): boolean {
    const isAlone = Date.now() - before > ALONE_MS
    before = Date.now()
    return isAlone && mercy.chance(SPARED)
  }

  const simulator = await createSimulator({
    file,
    key: UPSTREAM_KEY,
    webhookSecret: WEBHOOK_SECRET,
    listsInputs: random.chance(1 / 2),
    fault(call) {
      const marker = isSubmit(call) ? markerOf(String((call.body as { prompt?: string })?.prompt)) : null
      strikeAt(marker !== null ? 'submit' : 'look')
      drawn = null
      const fault = isCalm || (marker !== null && isSpared()) ? null : plan.fault(call)
      if (marker !== null) posts.push({ marker, at: Date.now(), kind: drawn })
      return fault
    },
    webhookFault(webhook) {
      strikeAt('webhook')
      return isCalm ? null : plan.webhookFault(webhook)
    },
  })

  return {
    simulator,
    posts,
    met,
    jobs() {
      const ledger = openLedger(file)
      const jobs = [...ledger.newest(0, Number.MAX_SAFE_INTEGER)]
      ledger.close()
      return jobs.map(({ id, input, plan: { end, code = null, empty = false } }) => {
        return {
          id,
          marker: markerOf(String(input.prompt)),
          end,
          code,
          hasOutput: end === 'completed' && !empty,
        }
      })
    },
    rage() {
      isCalm = false
    },
    calm() {
      isCalm = true
    },
    aim(at, nth, strike) {
      aimed = { at, left: nth, strike }
    },
    spare() {
      aimed = null
    },
    [Symbol.asyncDispose]: simulator.close,
  }
}

const isSubmit = ({ method, path }: Call) => method === 'POST' && path !== '/predictions'
