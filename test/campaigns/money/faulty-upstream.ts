/**
 * The simulator in this process: its ledger, the fault of each POST, and the kill points.
 * Invariant: while faults are disabled no new fault is injected.
 */
import { join } from 'node:path'
import { createFaultPlan } from '../../../src/simulator/fault-plan.ts'
import type { SeededRandom } from '../../../src/simulator/seeded-random.ts'
import { type ApiCall, createSimulator, type Simulator } from '../../../src/simulator/simulator.ts'
import { openSimulatorStore } from '../../../src/simulator/simulator-store.ts'
import type { SubmitPost, UpstreamJob } from './evidence.ts'
import type { Plan } from './plan.ts'
import { findMarker } from './prompt-marker.ts'

export interface FaultyUpstream extends AsyncDisposable {
  readonly simulator: Simulator
  readonly posts: readonly SubmitPost[]
  /** Count of each fault kind. */
  readonly faultCounts: ReadonlyMap<string, number>
  jobs(): UpstreamJob[]
  /** Faults are disabled at first. */
  enableFaults(): void
  disableFaults(): void
  /** Calls `callback` once, within the nth next call of that kind, before the call takes effect. */
  onNthCall(killPoint: KillPoint, nth: number, callback: () => void): void
  /** Removes the callback. */
  clearCallback(): void
}

export type KillPoint = 'submit' | 'poll' | 'webhook'

export const UPSTREAM_KEY = 'ws-torture-key'
export const WEBHOOK_SECRET = 'whsec_torture-of-tests'

const LONE_POST_GAP_MS = 250
const PROBE_SPARE_CHANCE = 0.8

export async function createFaultyUpstream(
  folder: string,
  { faultRates }: Plan,
  random: SeededRandom,
  weights: Record<string, number>,
): Promise<FaultyUpstream> {
  const file = join(folder, 'ledger.db')
  const posts: SubmitPost[] = []
  const faultCounts = new Map<string, number>()
  let areFaultsDisabled = true
  let drawnFault: string | null = null
  let armedCallback: { killPoint: KillPoint; callsLeft: number; callback: () => void } | null = null
  let lastPostAt = 0

  function countFault(kind: string): void {
    drawnFault = kind
    faultCounts.set(kind, (faultCounts.get(kind) ?? 0) + 1)
  }
  const spareRandom = random.fork('spare')
  const plan = createFaultPlan({
    seed: random.between(0, 2 ** 31),
    ...faultRates,
    weights,
    onFault: countFault,
  })

  function fireCallback(killPoint: KillPoint): void {
    if (armedCallback?.killPoint !== killPoint || --armedCallback.callsLeft > 0) return
    const { callback } = armedCallback
    armedCallback = null
    callback()
  }

  /**
   * A lone POST is the submit circuit's probe. If as many probes failed as other POSTs, the circuit would hardly ever
   * close.
   */
  function isProbeSpared(): boolean {
    const isLonePost = Date.now() - lastPostAt > LONE_POST_GAP_MS
    lastPostAt = Date.now()
    return isLonePost && spareRandom.chance(PROBE_SPARE_CHANCE)
  }

  const simulator = await createSimulator({
    file,
    key: UPSTREAM_KEY,
    webhookSecret: WEBHOOK_SECRET,
    listsInputs: random.chance(1 / 2),
    fault(call) {
      const marker = isSubmit(call) ? findMarker(String((call.body as { prompt?: string })?.prompt)) : null
      fireCallback(marker !== null ? 'submit' : 'poll')
      drawnFault = null
      const fault = areFaultsDisabled || (marker !== null && isProbeSpared()) ? null : plan.fault(call)
      if (marker !== null) posts.push({ marker, at: Date.now(), kind: drawnFault })
      return fault
    },
    webhookFault(webhook) {
      fireCallback('webhook')
      return areFaultsDisabled ? null : plan.webhookFault(webhook)
    },
  })

  return {
    simulator,
    posts,
    faultCounts,
    jobs() {
      const simulatorStore = openSimulatorStore(file)
      const jobs = [...simulatorStore.newest(0, Number.MAX_SAFE_INTEGER)]
      simulatorStore.close()
      return jobs.map(({ id, input, plan: { end, code = null, empty = false } }) => {
        return {
          id,
          marker: findMarker(String(input.prompt)),
          end,
          code,
          hasOutput: end === 'completed' && !empty,
        }
      })
    },
    enableFaults() {
      areFaultsDisabled = false
    },
    disableFaults() {
      areFaultsDisabled = true
    },
    onNthCall(killPoint, nth, callback) {
      armedCallback = { killPoint, callsLeft: nth, callback }
    },
    clearCallback() {
      armedCallback = null
    },
    [Symbol.asyncDispose]: simulator.close,
  }
}

const isSubmit = ({ method, path }: ApiCall) => method === 'POST' && path !== '/predictions'
