/**
 * `npm run app -- restored`: declares that the database is an earlier copy of itself, unless a gateway's start has noticed
 * it, and says what the operator has to decide.
 */
import { MICROS_PER_USD } from '../../domain/models.ts'
import type { LostTime, RestoreReport } from '../../domain/restore.ts'
import { openStore } from '../../store/open-store.ts'
import type { Store } from '../../store/store.ts'
import type { ParsedCommand } from './arguments.ts'
import type { CommandResult } from './command-result.ts'
import { formatDollars, formatKeyRow, formatUtc, keyToJson, toIso } from './format.ts'
import { type Env, findDatabase, withStore } from './with-store.ts'

/** @throws StartupError if nothing was noticed, and a gateway runs: only a start can begin a new epoch */
export async function declareRestored(
  { keepKeys, revokeSince }: ParsedCommand,
  env: Env,
  now: number,
  lockTimeoutMs?: number,
): Promise<CommandResult> {
  const isNoticed = await withStore(env, false, isPending, lockTimeoutMs)
  if (!isNoticed) {
    const thisProcess = { gatewayStartedAt: now, isRestored: true }
    await (await openStore(findDatabase(env, false), () => {}, { thisProcess })).close()
  }
  const isDecided = keepKeys || revokeSince !== null
  return withStore(
    env,
    false,
    async store => {
      const revoked = isDecided ? await store.decideKeys(revokeSince) : []
      return describe(store, revoked, now)
    },
    lockTimeoutMs,
  )
}

/** Whether a restore was noticed and not yet dealt with: until then the command declares no other one. */
const isPending = async (store: Store): Promise<boolean> =>
  (await store.listHolds()).some(({ reason }) => reason === 'restored') ||
  (await store.lostTimes()).some(({ areKeysDecided, report }) => !areKeysDecided || report === null)

async function describe(store: Store, revoked: readonly string[], now: number): Promise<CommandResult> {
  const lostTime = (await store.lostTimes()).at(-1)!
  const { areKeysDecided } = lostTime
  const apps = await store.listApps()
  const keys = await Promise.all(
    apps.map(async ({ id, name }) => ({
      app: name,
      keys: (await store.listKeys(id)).filter(({ expiresAt }) => expiresAt === null || expiresAt > now),
    })),
  )
  const keyRows = keys.flatMap(({ app, keys: valid }) =>
    valid.map(key => `  ${formatKeyRow(key, now).join('  ')}\n    of ${app}`),
  )
  const decision = areKeysDecided
    ? revoked.length === 0
      ? 'These keys stay valid.'
      : `Revoked: ${revoked.map(prefix => `${prefix}…`).join(' ')}`
    : 'A key that was revoked in the lost time is valid again. Say which stay:\n  restored --keep-keys, or restored --revoke-since DATE for those created since.'
  return {
    text: [
      `The time from ${formatUtc(lostTime.from)}\nto ${formatUtc(lostTime.to)} is lost.`,
      'The event log has a new epoch, so each feed of before gets FeedGap.\nAll access tokens have ended. All submits are held until "release".',
      `Keys that are valid in the copy:\n${keyRows.join('\n') || '  none'}`,
      decision,
      describeReport(lostTime),
      'Not known: which keys were revoked, which limits were changed, which jobs were\ncanceled or refunded, which idempotency keys were used in the lost time. A\nclient that repeats a submit of that time pays again.',
    ].join('\n\n'),
    json: {
      from: toIso(lostTime.from),
      to: toIso(lostTime.to),
      areKeysDecided,
      revoked,
      keys: keys.map(({ app, keys: valid }) => ({ app, keys: valid.map(keyToJson) })),
      report: lostTime.report && reportToJson(lostTime.report),
    },
  }
}

function describeReport({ report }: LostTime): string {
  if (report === null)
    return 'The gateway has not compared the waiting jobs with the list of upstream yet.\nIt does so after its start; "restored" then says what it found.'
  const { adopted, absent, unsure, orphans, orphanCost, attributedCost, isIncomplete } = report
  return [
    `Compared with the list of upstream: ${adopted} jobs were found and go on.`,
    `Held, see "queue --held": ${absent} that upstream does not list, ${unsure} that it may.`,
    `Jobs of upstream without a row: ${orphans}, which cost ${formatDollars(orphanCost)}.`,
    `Of these ${formatDollars(attributedCost)} was added to what an app has spent this month;`,
    'of the rest the app is not known, or it was another month.',
    ...(isIncomplete ? ['The list goes back seven days only, and the copy is older.'] : []),
  ].join('\n')
}

const reportToJson = ({ orphanCost, attributedCost, ...report }: RestoreReport) => ({
  ...report,
  orphanCostUsd: orphanCost / MICROS_PER_USD,
  attributedCostUsd: attributedCost / MICROS_PER_USD,
})
