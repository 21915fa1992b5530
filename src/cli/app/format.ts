/**
 * Formats apps, keys, money and times for `npm run app`, as text and as JSON. Pure.
 * Invariant: a key is shown only by its prefix and its dates. No row is longer than 80 columns.
 */
import type { AppLimits } from '../../domain/app-limits.ts'
import { MICROS_PER_USD } from '../../domain/models.ts'
import type { ApiKeyInfo, App, AppUsage } from '../../store/store.ts'

export const formatUtc = (ms: number): string =>
  `${new Date(ms).toISOString().slice(0, 19).replace('T', ' ')} UTC`
export const toIso = (ms: number | null): string | null => (ms === null ? null : new Date(ms).toISOString())

/** Two to six decimals, so that no micro-dollar is lost. */
export function formatDollars(micro: number): string {
  const units = Math.floor(micro / MICROS_PER_USD)
  const fraction = String(micro % MICROS_PER_USD)
    .padStart(6, '0')
    .replace(/0{1,4}$/, '')
  return `$${units}.${fraction}`
}

const NO_LIMIT = 'no limit'
const formatCount = (limit: number | null): string => (limit === null ? NO_LIMIT : String(limit))
const formatBudget = (limit: number | null): string => (limit === null ? NO_LIMIT : formatDollars(limit))

const formatRows = (cells: [string, string][]): string =>
  cells.map(([name, value]) => `  ${name.padEnd(17)}  ${value}`).join('\n')

export const formatLimits = (limits: AppLimits): string =>
  formatRows([
    ['in flight', formatCount(limits.maxInFlight)],
    ['queued', formatCount(limits.maxQueued)],
    ['submits a minute', formatCount(limits.submitsPerMinute)],
    ['budget a month', formatBudget(limits.monthlyBudget)],
    ['weight', String(limits.weight)],
  ])

export const formatKeyRow = ({ prefix, createdAt, expiresAt }: ApiKeyInfo, now: number): [string, string] => {
  const created = `created ${formatUtc(createdAt).slice(0, 19)}`
  if (expiresAt === null) return [`key ${prefix}…`, `${created}, no expiry`]
  return [`key ${prefix}…`, `${created}, ${expiresAt <= now ? 'ended' : 'ends'} ${formatUtc(expiresAt)}`]
}

/** An app with its usage, limits and keys. */
export function formatApp(app: App, usage: AppUsage, keys: readonly ApiKeyInfo[], now: number): string {
  const { maxInFlight, maxQueued, submitsPerMinute, monthlyBudget, weight } = app.limits
  const usageOf = (used: string, limit: string) =>
    limit === NO_LIMIT ? `${used}, no limit` : `${used} of ${limit}`
  return `${app.name}\n${formatRows([
    ['in flight', usageOf(String(usage.inFlight), formatCount(maxInFlight))],
    ['queued', usageOf(String(usage.queued), formatCount(maxQueued))],
    ['spent this month', usageOf(formatDollars(usage.spent), formatBudget(monthlyBudget))],
    ['submits a minute', formatCount(submitsPerMinute)],
    ['weight', String(weight)],
    ...(keys.length > 0
      ? keys.map(key => formatKeyRow(key, now))
      : [['no key', '"rotate" creates one'] as [string, string]]),
  ])}`
}

export const limitsToJson = ({ monthlyBudget, weight, ...limits }: AppLimits) => ({
  ...limits,
  monthlyBudgetUsd: monthlyBudget === null ? null : monthlyBudget / MICROS_PER_USD,
  weight,
})

export const keyToJson = ({ prefix, createdAt, expiresAt }: ApiKeyInfo) => ({
  prefix,
  createdAt: toIso(createdAt),
  expiresAt: toIso(expiresAt),
})
