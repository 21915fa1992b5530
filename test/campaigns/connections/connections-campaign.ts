/**
 * A run of the connections campaign: feed clients, jobs, a faulty network and a gateway that is killed. After
 * recovery each client must have received exactly the event log.
 * Invariant: every decision is drawn from the seed, and every breach is thrown with it.
 */
import { createCampaign } from '../../support/campaign.ts'
import { findBreaches, immediateBreaches, summarize } from './breaches.ts'
import { runFaultPhase } from './fault-phase.ts'
import type { Plan } from './plan.ts'
import { awaitRecovery } from './recovery.ts'
import { createScenario } from './scenario.ts'

/** A breach names the client and the position in its sequence. */
export const runConnectionsCampaign = createCampaign<Plan>('chaos', async context => {
  const { plan, random, interrupt } = context
  await using scenario = await createScenario(plan, random)
  const result = await runFaultPhase(scenario, context).catch(error => {
    // A crashed gateway answers no client, so the crash is reported first.
    throw new Error([...immediateBreaches(scenario), error.message].join('\n  '), { cause: error })
  })
  interrupt.throwIfAborted()
  if (immediateBreaches(scenario).length === 0) await awaitRecovery(scenario)
  return { summary: summarize(scenario, result), breaches: findBreaches(scenario, plan, result) }
})
