/**
 * What a run has shown: what must never be, what each client was told against the log, and whether it was a storm at all.
 */
import { type Plan, restartsOf } from './plan.ts'
import type { Done } from './rage.ts'
import type { Stage } from './stage.ts'
import { verdict } from './verdict.ts'

/** What nobody may do at any time: a gap, an error, an end, a crash. */
export const wrongs = ({ victim, crowd }: Stage): string[] =>
  [victim.wrong, ...crowd.members.map(({ diary }) => diary.wrong)].filter(wrong => wrong !== null)

/** Everything that is not as promised, in words. Of sequences only if nothing worse is wrong. */
export function breaches(stage: Stage, plan: Plan, done: Done): string[] {
  const wrong = wrongs(stage)
  return wrong.length > 0
    ? wrong
    : [...misled(stage), ...strayed(stage), ...uncounted(stage, done), ...tooCalm(stage, plan, done)]
}

const misled = ({ crowd, log }: Stage): string[] =>
  crowd.members
    .map(({ diary, app, filter }) => verdict(diary.name, diary.told, log.events(app.name, filter)))
    .filter(breach => breach !== null)

/** Everyone was cut in the quiet, and has had time to come back. */
const strayed = ({ crowd }: Stage): string[] =>
  crowd.members.filter(({ diary }) => !diary.isLive).map(({ diary }) => `${diary.name} has not caught up`)

/** However often a job was sent, it is one. */
const uncounted = ({ log }: Stage, { sent }: Done): string[] =>
  [...sent]
    .map(([{ name }, count]) => ({ name, count, kept: log.jobs(name) }))
    .filter(({ count, kept }) => count !== kept)
    .map(({ name, count, kept }) => `${name} sent ${count} jobs, and ${kept} are on disk`)

/** A storm that was none proves nothing. */
function tooCalm({ crowd, network }: Stage, plan: Plan, { restarts }: Done): string[] {
  const counts: [string, number, number][] = [
    ['reconnects', crowd.reconnects, plan.reconnects],
    ['restarts', restarts, restartsOf(plan)],
    ['chunks torn', network.torn, 1],
    ['events told live', crowd.live, 1],
    ['events replayed', crowd.told - crowd.live, 1],
  ]
  return counts
    .filter(([, count, least]) => count < least)
    .map(([what, count, least]) => `too few ${what}: ${count}, at least ${least} were planned`)
}

export function sumUp({ crowd, network, apps, log }: Stage, { restarts }: Done): string {
  const events = apps.reduce((sum, { name }) => sum + log.events(name).length, 0)
  const live = Math.round((100 * crowd.live) / crowd.told)
  return [
    `${crowd.members.length} clients`,
    `${crowd.reconnects} reconnects`,
    `${network.torn} chunks torn`,
    `${restarts} restarts`,
    `${events} events, told ${crowd.told} times, ${live} % live`,
  ].join(' · ')
}
