/**
 * The results of the requests part, as tables with the targets.
 */
import { median } from '../results.ts'
import { aligned, formatComparison, formatNumber } from '../table.ts'
import { CONCURRENT_REQUESTS, type PageCost, type Requests } from './measure.ts'
import { REQUEST_METRICS } from './metrics.ts'
import { PAGE_SIZE } from './operations.ts'

/**
 * Max growth of a page's CPU from the fewest predictions to the most. Two runs of one size differ by as much.
 */
const MAX_GROWTH = 1.15

export function formatRequestsTable({ comparison, pages }: Requests): string {
  return `${formatComparison(comparison, REQUEST_METRICS, 'bare http')}

${CONCURRENT_REQUESTS} requests in flight where it says nothing else. All three read the same rows of SQLite and give the same bytes; a submit stays in memory with bare http and stock, here it is on disk. Medians; ratios are of samples taken one after the other, (min–max).

${formatPagesTable(pages)}`
}

function formatPagesTable(pages: readonly PageCost[]): string {
  const row = (title: string, samplesOf: (page: PageCost) => number[]) => {
    const fewest = samplesOf(pages[0]!)
    const growth = median(samplesOf(pages.at(-1)!).map((cpu, round) => cpu / fewest[round]!))
    const verdict = `${growth.toFixed(2)} target ≤ ${MAX_GROWTH} ${growth <= MAX_GROWTH ? 'met' : 'missed'}`
    return [title, 'µs', ...pages.map(page => formatNumber(median(samplesOf(page)))), verdict]
  }
  return aligned(
    [
      [
        `server CPU a page of ${PAGE_SIZE}, by predictions`,
        '',
        ...pages.map(({ rows }) => formatNumber(rows)),
        '',
      ],
      row('the first page', ({ first }) => first),
      row('a page from the middle', ({ middle }) => middle),
    ],
    pages.map((_, i) => i + 2),
  )
}
