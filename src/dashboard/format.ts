/**
 * Formats numbers, times, statuses and errors as text.
 */
import type { MutationResult, PredictionStatus } from './documents.ts'

export const STATUS_LABELS: Record<PredictionStatus, string> = {
  QUEUED: 'Waiting',
  CREATED: 'Sent',
  PROCESSING: 'Running',
  COMPLETED: 'Done',
  FAILED: 'Failed',
  CANCELED: 'Canceled',
}

const DOLLARS = new Intl.NumberFormat('en-US', { style: 'currency', currency: 'USD' })
export const formatMoney = (amount: number): string => DOLLARS.format(amount)

/** `0:42`, `12:05`, `1:02:03`. */
export function formatClock(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000))
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60]
  const two = (n: number) => String(n).padStart(2, '0')
  return h > 0 ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`
}

/** `4.2 s`, `3 min`, `2 h`. */
export function formatSeconds(value: number): string {
  if (value < 10) return `${Math.round(value * 10) / 10} s`
  if (value < 120) return `${Math.round(value)} s`
  return value < 7200 ? `${Math.round(value / 60)} min` : `${Math.round(value / 3600)} h`
}

/** `just now`, `5 min ago`, `3 h ago`, later the date. */
export function formatAgo(moment: string, now: number): string {
  const minutes = Math.floor((now - Date.parse(moment)) / 60_000)
  if (minutes < 1) return 'just now'
  if (minutes < 60) return `${minutes} min ago`
  if (minutes < 24 * 60) return `${Math.floor(minutes / 60)} h ago`
  return new Date(moment).toLocaleDateString(undefined, { day: 'numeric', month: 'short' })
}

/** The error of a mutation as text. @param price USD that the mutation would have cost */
export function formatError(result: MutationResult, price = 0): string {
  const { code, message = 'The gateway refused.', issues = [], retryAfterMs, budget, spent } = result
  if (issues.length > 0) return issues.map(issue => formatFault(issue.message)).join(' ')
  if (retryAfterMs !== undefined) {
    const reason = code === 'RATE_LIMITED' && price > 0 ? 'Too many submits within a minute.' : message
    return `${reason} In ${formatSeconds(Math.ceil(retryAfterMs / 1000))} there is room again.`
  }
  if (budget && spent)
    return `${message} Spent: ${formatMoney(spent.amount)} of ${formatMoney(budget.amount)}; this costs ${formatMoney(price)}.`
  return message
}

/** Turns the gateway's "expected …" into a sentence to show beside a field. */
export function formatFault(message: string): string {
  const text = message.replace(/^expected /, '')
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`
}

/** The first 80 characters of a prompt. */
export function shorten(prompt: string): string {
  const characters = [...prompt]
  return characters.length > 80 ? `${characters.slice(0, 80).join('')}…` : prompt
}

/** Guards against other schemes, such as `javascript:`, in URLs that come from upstream or an app. */
export const httpUrlOrUndefined = (url: string): string | undefined =>
  /^https?:\/\//i.test(url) ? url : undefined
