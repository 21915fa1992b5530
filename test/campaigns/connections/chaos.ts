/**
 * One run of chaos: clients of the feed, jobs, a network that breaks and a gateway that is killed; then calm, and each
 * client must have been told exactly what the log says.
 * Invariant: every decision is drawn from the seed, and every breach is thrown with it.
 */
import { campaign } from '../../support/campaign.ts'
import { calm } from './calm.ts'
import { breaches, sumUp, wrongs } from './findings.ts'
import type { Plan } from './plan.ts'
import { rage } from './rage.ts'
import { createStage } from './stage.ts'

/** A breach tells which client it was, and where in its sequence. */
export const runChaos = campaign<Plan>('chaos', async orders => {
  const { plan, random, interrupt } = orders
  await using stage = await createStage(plan, random)
  const done = await rage(stage, orders).catch(error => {
    // A gateway that is gone answers nobody: that it went comes first.
    throw new Error([...wrongs(stage), error.message].join('\n  '), { cause: error })
  })
  interrupt.throwIfAborted()
  if (wrongs(stage).length === 0) await calm(stage)
  return { summary: sumUp(stage, done), found: breaches(stage, plan, done) }
})
