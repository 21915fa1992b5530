/**
 * One run of chaos: clients of the feed, jobs, a network that breaks and a gateway that is killed; then calm, and each
 * client must have been told exactly what the log says.
 * Invariant: every decision is drawn from the seed, and every breach is thrown with it.
 */
import { createCampaign } from '../../support/campaign.ts'
import { findBreaches, immediateBreaches, summarize } from './breaches.ts'
import { runFaultPhase } from './fault-phase.ts'
import type { Plan } from './plan.ts'
import { awaitRecovery } from './recovery.ts'
import { createScenario } from './scenario.ts'

/** A breach tells which client it was, and where in its sequence. */
export const runConnectionsCampaign = createCampaign<Plan>('chaos', async context => {
  const { plan, random, interrupt } = context
  await using scenario = await createScenario(plan, random)
  const result = await runFaultPhase(scenario, context).catch(error => {
    // A gateway that is gone answers nobody: that it went comes first.
    throw new Error([...immediateBreaches(scenario), error.message].join('\n  '), { cause: error })
  })
  interrupt.throwIfAborted()
  if (immediateBreaches(scenario).length === 0) await awaitRecovery(scenario)
  return { summary: summarize(scenario, result), breaches: findBreaches(scenario, plan, result) }
})
