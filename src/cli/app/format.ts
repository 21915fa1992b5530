/**
 * How apps, keys, money and moments are shown by `npm run app`, for people and for machines. Pure.
 * Invariant: of a key nothing but its prefix and its dates; no row is longer than 80 columns.
 */
import type { Limits } from '../../domain/app-limits.ts'
import { MICRO_USD } from '../../domain/models.ts'
import type { App, VisibleKey } from '../../store/store.ts'

export interface Usage {
  inFlight: number
  queued: number
  /** Micro-USD, this UTC month. */
  spent: number
}

export const inUtc = (ms: number): string =>
  `${new Date(ms).toISOString().slice(0, 19).replace('T', ' ')} UTC`
export const iso = (ms: number | null): string | null => (ms === null ? null : new Date(ms).toISOString())

/** At least the cents, and every micro-dollar there is. */
export function inDollars(micro: number): string {
  const units = Math.floor(micro / MICRO_USD)
  const fraction = String(micro % MICRO_USD)
    .padStart(6, '0')
    .replace(/0{1,4}$/, '')
  return `$${units}.${fraction}`
}

const NO_LIMIT = 'no limit'
const count = (limit: number | null): string => (limit === null ? NO_LIMIT : String(limit))
const money = (limit: number | null): string => (limit === null ? NO_LIMIT : inDollars(limit))

const rows = (cells: [string, string][]): string =>
  cells.map(([name, value]) => `  ${name.padEnd(17)}  ${value}`).join('\n')

export const limitRows = (limits: Limits): string =>
  rows([
    ['in flight', count(limits.maxInFlight)],
    ['queued', count(limits.maxQueued)],
    ['submits a minute', count(limits.submitsPerMinute)],
    ['budget a month', money(limits.monthlyBudget)],
    ['weight', String(limits.weight)],
  ])

export const keyRow = ({ prefix, createdAt, expiresAt }: VisibleKey, now: number): [string, string] => {
  const made = `made ${inUtc(createdAt).slice(0, 19)}`
  if (expiresAt === null) return [`key ${prefix}…`, `${made}, no end`]
  return [`key ${prefix}…`, `${made}, ${expiresAt <= now ? 'ended' : 'ends'} ${inUtc(expiresAt)}`]
}

/** An app, what it uses and may use, its keys. */
export function block(app: App, usage: Usage, keys: readonly VisibleKey[], now: number): string {
  const { maxInFlight, maxQueued, submitsPerMinute, monthlyBudget, weight } = app.limits
  const of = (use: string, limit: string) => (limit === NO_LIMIT ? `${use}, no limit` : `${use} of ${limit}`)
  return `${app.name}\n${rows([
    ['in flight', of(String(usage.inFlight), count(maxInFlight))],
    ['queued', of(String(usage.queued), count(maxQueued))],
    ['spent this month', of(inDollars(usage.spent), money(monthlyBudget))],
    ['submits a minute', count(submitsPerMinute)],
    ['weight', String(weight)],
    ...(keys.length > 0
      ? keys.map(key => keyRow(key, now))
      : [['no key', '"rotate" gives it one'] as [string, string]]),
  ])}`
}

export const limitsForMachine = ({ monthlyBudget, weight, ...limits }: Limits) => ({
  ...limits,
  monthlyBudgetUsd: monthlyBudget === null ? null : monthlyBudget / MICRO_USD,
  weight,
})

export const keyForMachine = ({ prefix, createdAt, expiresAt }: VisibleKey) => ({
  prefix,
  createdAt: iso(createdAt),
  expiresAt: iso(expiresAt),
})
