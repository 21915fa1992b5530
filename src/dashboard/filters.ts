/**
 * Which predictions are shown; the page's address keeps it, so that a reload shows the same.
 */
import { html } from 'htm/preact'
import type { Board } from './dashboard-state.ts'
import { type Filter, STATUSES, type Status } from './documents.ts'
import { STATUS_WORDS } from './format.ts'
import type { Shelf } from './prediction-list.ts'

/** What one button shows: to whoever waits, sent and running are one. */
const GROUPS: [name: string, statuses: readonly Status[]][] = [
  ['All', []],
  [STATUS_WORDS.QUEUED, ['QUEUED']],
  [STATUS_WORDS.PROCESSING, ['CREATED', 'PROCESSING']],
  [STATUS_WORDS.COMPLETED, ['COMPLETED']],
  [STATUS_WORDS.FAILED, ['FAILED']],
  [STATUS_WORDS.CANCELED, ['CANCELED']],
]

export function filterInAddress(): Filter {
  const asked = new URLSearchParams(location.search)
  const named = asked.getAll('status')
  return filterOf(
    STATUSES.filter(status => named.includes(status)),
    asked.getAll('tag'),
  )
}

/** Of a list that is empty the gateway lets nothing through. */
const filterOf = (statuses: readonly Status[], tags: readonly string[]): Filter => ({
  ...(statuses.length > 0 && { statuses }),
  ...(tags.length > 0 && { tags }),
})

function keepInAddress({ statuses = [], tags = [] }: Filter): void {
  const asked = new URLSearchParams([
    ...statuses.map(status => ['status', status]),
    ...tags.map(tag => ['tag', tag]),
  ])
  history.replaceState(null, '', asked.size > 0 ? `?${asked}` : location.pathname)
}

const tagsIn = (text: string): string[] =>
  text
    .split(',')
    .map(tag => tag.trim())
    .filter(tag => tag !== '')

export function Filters({ board, shelf, filter }: { board: Board; shelf: Shelf; filter: Filter }) {
  const { statuses = [], tags = [] } = filter
  const show = (statuses: readonly Status[], tags: readonly string[]) => {
    const next = filterOf(statuses, tags)
    keepInAddress(next)
    board.show(next)
  }
  const known = [...new Set([...tags, ...shelf.cards.flatMap(({ tags }) => tags)])].sort()
  return html`
    <div class="filters">
      <div role="group" aria-label="Status">
        ${GROUPS.map(
          ([name, of]) => html`
            <button
              class="chip" aria-pressed=${of.join() === statuses.join() ? 'true' : 'false'}
              onClick=${() => show(of, tags)}>
              ${name}
            </button>
          `,
        )}
      </div>
      <label>
        <span class="unseen">Only with tags</span>
        <input
          type="search" name="tags" list="tags" placeholder="Every tag" value=${tags.join(', ')}
          onChange=${({ target }: { target: HTMLInputElement }) => show(statuses, tagsIn(target.value))} />
        <datalist id="tags">${known.map(tag => html`<option value=${tag} />`)}</datalist>
      </label>
    </div>
  `
}
