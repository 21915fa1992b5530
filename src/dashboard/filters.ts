/**
 * The filter of the shown predictions. It is kept in the page's URL, so a reload shows the same.
 */
import { html } from 'htm/preact'
import type { Dashboard } from './dashboard-state.ts'
import { type CardFilter, PREDICTION_STATUSES, type PredictionStatus } from './documents.ts'
import { STATUS_LABELS } from './format.ts'
import type { PredictionList } from './prediction-list.ts'

/** The statuses of each button. "Running" includes jobs that were sent and do not run yet. */
const STATUS_GROUPS: [name: string, statuses: readonly PredictionStatus[]][] = [
  ['All', []],
  [STATUS_LABELS.QUEUED, ['QUEUED']],
  [STATUS_LABELS.PROCESSING, ['CREATED', 'PROCESSING']],
  [STATUS_LABELS.COMPLETED, ['COMPLETED']],
  [STATUS_LABELS.FAILED, ['FAILED']],
  [STATUS_LABELS.CANCELED, ['CANCELED']],
]

export function readFilterFromUrl(): CardFilter {
  const params = new URLSearchParams(location.search)
  const named = params.getAll('status')
  return buildFilter(
    PREDICTION_STATUSES.filter(status => named.includes(status)),
    params.getAll('tag'),
  )
}

/** Omits empty lists: for the gateway, an empty list matches nothing. */
const buildFilter = (statuses: readonly PredictionStatus[], tags: readonly string[]): CardFilter => ({
  ...(statuses.length > 0 && { statuses }),
  ...(tags.length > 0 && { tags }),
})

function writeFilterToUrl({ statuses = [], tags = [] }: CardFilter): void {
  const params = new URLSearchParams([
    ...statuses.map(status => ['status', status]),
    ...tags.map(tag => ['tag', tag]),
  ])
  history.replaceState(null, '', params.size > 0 ? `?${params}` : location.pathname)
}

export const parseTags = (text: string): string[] =>
  text
    .split(',')
    .map(tag => tag.trim())
    .filter(tag => tag !== '')

export function Filters({
  dashboard,
  list,
  filter,
}: {
  dashboard: Dashboard
  list: PredictionList
  filter: CardFilter
}) {
  const { statuses = [], tags = [] } = filter
  const apply = (statuses: readonly PredictionStatus[], tags: readonly string[]) => {
    const next = buildFilter(statuses, tags)
    writeFilterToUrl(next)
    dashboard.setFilter(next)
  }
  const knownTags = [...new Set([...tags, ...list.cards.flatMap(({ tags }) => tags)])].sort()
  return html`
    <div class="filters">
      <div role="group" aria-label="Status">
        ${STATUS_GROUPS.map(
          ([name, groupStatuses]) => html`
            <button
              class="chip" aria-pressed=${groupStatuses.join() === statuses.join() ? 'true' : 'false'}
              onClick=${() => apply(groupStatuses, tags)}>
              ${name}
            </button>
          `,
        )}
      </div>
      <label>
        <span class="visually-hidden">Only with tags</span>
        <input
          type="search" name="tags" list="tags" placeholder="Every tag" value=${tags.join(', ')}
          onChange=${({ target }: { target: HTMLInputElement }) => apply(statuses, parseTags(target.value))} />
        <datalist id="tags">${knownTags.map(tag => html`<option value=${tag} />`)}</datalist>
      </label>
    </div>
  `
}
