/**
 * What was measured, in words, and against the targets.
 */
import { median } from '../results.ts'
import { aligned, comparisonOf, figure } from '../table.ts'
import { IN_FLIGHT, type PageCost, type Requests } from './measure.ts'
import { REQUEST_METRICS } from './metrics.ts'
import { PAGE } from './questions.ts'

/** Of the same, from the fewest predictions to the most: two runs of one size differ by as much. */
const MOST_GROWTH = 1.15

export function requestsTableOf({ sideBySide, pages }: Requests): string {
  return `${comparisonOf(sideBySide, REQUEST_METRICS, 'bare http')}

${IN_FLIGHT} requests in flight where it says nothing else. All three read the same rows of SQLite and give the same bytes; a submit stays in memory with bare http and stock, here it is on disk. Medians; ratios are of samples taken one after the other, (least–greatest).

${pagesTableOf(pages)}`
}

function pagesTableOf(pages: readonly PageCost[]): string {
  const row = (what: string, of: (page: PageCost) => number[]) => {
    const fewest = of(pages[0]!)
    const growth = median(of(pages.at(-1)!).map((cpu, turn) => cpu / fewest[turn]!))
    const verdict = `${growth.toFixed(2)} target ≤ ${MOST_GROWTH} ${growth <= MOST_GROWTH ? 'met' : 'missed'}`
    return [what, 'µs', ...pages.map(page => figure(median(of(page)))), verdict]
  }
  return aligned(
    [
      [`server CPU a page of ${PAGE}, by predictions`, '', ...pages.map(({ rows }) => figure(rows)), ''],
      row('the first page', ({ first }) => first),
      row('a page from the middle', ({ middle }) => middle),
    ],
    pages.map((_, i) => i + 2),
  )
}
