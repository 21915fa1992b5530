/**
 * A run of the money campaign: apps, an upstream that fails in every way of its contract, and a gateway that is
 * killed. Then the gateway's rows must agree with the upstream ledger.
 * Invariant: every decision is drawn from the seed, and every breach is thrown with it.
 */
import { createCampaign } from '../../support/campaign.ts'
import type { Evidence } from './evidence.ts'
import { UPSTREAM_KEY, WEBHOOK_SECRET } from './faulty-upstream.ts'
import { findLogBreaches, findTimedOutSubmits } from './log-check.ts'
import { findBreaches } from './money-oracle.ts'
import { runPhases } from './phases.ts'
import type { Plan } from './plan.ts'
import { MARKER_WORD } from './prompt-marker.ts'
import { createScenario, type Scenario } from './scenario.ts'
import { summarize } from './summary.ts'

export const runMoneyCampaign = createCampaign<Plan>('torture', async context => {
  const { plan, random } = context
  await using scenario = await createScenario(plan, random)
  const leakedSlots = await runPhases(scenario, context)
  const evidence = collectEvidence(scenario, plan)
  const breaches = [
    ...[scenario.gateway.breach, scenario.history.breach].filter(breach => breach !== null),
    ...findBreaches(evidence),
    ...insufficientFaults(evidence, plan),
    ...(leakedSlots > 0 ? [`LEAKED SLOTS: ${leakedSlots} slots are still taken or waited for`] : []),
    ...scenario.gateway.logs.flatMap(output => findLogBreaches(output, secrets(scenario))),
  ]
  return { summary: summarize(evidence, scenario), breaches }
})

/** A run with too few faults proves nothing. */
function insufficientFaults({ posts, killTimes }: Evidence, plan: Plan): string[] {
  const faultySubmits = posts.filter(({ kind }) => kind !== null).length
  const isSufficient =
    faultySubmits >= plan.minFaultySubmits / 5 && killTimes.length >= plan.randomKills + plan.targetedKills
  return isSufficient
    ? []
    : [`TOO FEW FAULTS: ${faultySubmits} submits met a fault, ${killTimes.length} kills`]
}

const collectEvidence = (
  { database, upstream, history, gateway }: Scenario,
  { submitTimeoutMs }: Plan,
): Evidence => ({
  rows: database.rows(),
  jobs: upstream.jobs(),
  requests: history.requests,
  cancels: history.cancels,
  posts: upstream.posts,
  webhookAcceptedJobs: new Set(
    upstream.simulator.webhooks.filter(({ status }) => status === 204).map(({ id }) => id),
  ),
  timedOutSubmits: new Set(gateway.logs.flatMap(output => findTimedOutSubmits(output, submitTimeoutMs))),
  killTimes: gateway.killTimes,
})

const secrets = ({ upstream, apps, warmUpApp }: Scenario): string[] => [
  MARKER_WORD,
  new URL(upstream.simulator.sampleImage).pathname,
  UPSTREAM_KEY,
  WEBHOOK_SECRET,
  '/webhooks/wavespeed?p=',
  ...[...apps, warmUpApp].map(({ key }) => key),
]
