/**
 * One run of torture: apps, an upstream that fails in every way of its contract, a gateway that is killed; then calm, and
 * the gateway's rows must say what upstream's ledger says.
 * Invariant: every decision is drawn from the seed, and every breach is thrown with it.
 */
import { campaign } from '../../support/campaign.ts'
import type { Case } from './case.ts'
import { givenUp, indiscretions } from './log.ts'
import { MARK } from './marker.ts'
import type { Plan } from './plan.ts'
import { createStage, type Stage } from './stage.ts'
import { storm } from './storm.ts'
import { sumUp } from './summary.ts'
import { UPSTREAM_KEY, WEBHOOK_SECRET } from './upstream.ts'
import { verdict } from './verdict.ts'

export const runTorture = campaign<Plan>('torture', async orders => {
  const { plan, random } = orders
  await using stage = await createStage(plan, random)
  const kept = await storm(stage, orders)
  const all = gather(stage, plan)
  const found = [
    ...[stage.victim.wrong, stage.told.wrong].filter(wrong => wrong !== null),
    ...verdict(all),
    ...tooCalm(all, plan),
    ...(kept > 0 ? [`KEPT: ${kept} places are still taken, or waited for`] : []),
    ...stage.victim.logs.flatMap(life => indiscretions(life, confidences(stage))),
  ]
  return { summary: sumUp(all, stage), found }
})

/** A storm that was none proves nothing. */
function tooCalm({ posts, kills }: Case, plan: Plan): string[] {
  const wrong = posts.filter(({ kind }) => kind !== null).length
  const isStorm = wrong >= plan.wrongs / 5 && kills.length >= plan.kills + plan.aimed
  return isStorm ? [] : [`TOO CALM: ${wrong} submits met a fault, and there were ${kills.length} kills`]
}

const gather = ({ truth, upstream, told, victim }: Stage, { submitTimeoutMs }: Plan): Case => ({
  rows: truth.rows(),
  jobs: upstream.jobs(),
  promises: told.promises,
  cancels: told.cancels,
  posts: upstream.posts,
  heard: new Set(upstream.simulator.webhooks.filter(({ status }) => status === 204).map(({ id }) => id)),
  givenUp: new Set(victim.logs.flatMap(life => givenUp(life, submitTimeoutMs))),
  kills: victim.kills,
})

const confidences = ({ upstream, apps, school }: Stage): string[] => [
  MARK,
  new URL(upstream.simulator.sampleImage).pathname,
  UPSTREAM_KEY,
  WEBHOOK_SECRET,
  '/webhooks/wavespeed?p=',
  ...[...apps, school].map(({ key }) => key),
]
