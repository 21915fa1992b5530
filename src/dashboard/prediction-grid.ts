/**
 * The grid of predictions, newest first.
 */
import { html } from 'htm/preact'
import { useRef } from 'preact/hooks'
import { Card } from './card.ts'
import type { Dashboard, DashboardState } from './dashboard-state.ts'
import { useRedrawEvery } from './hooks.ts'
import { filterList, isUnfinished } from './prediction-list.ts'

export function PredictionGrid({ dashboard, state }: { dashboard: Dashboard; state: DashboardState }) {
  const { viewer, list, filter, positions, models, isLoading } = state
  const { cards, oldestLoaded } = isLoading ? filterList(list, filter) : list
  useRedrawEvery(
    1000,
    cards.some(({ status }) => isUnfinished(status)),
  )
  const listElement = useRef<HTMLUListElement>(null)
  const loadOlder = async () => {
    const { length } = cards
    await dashboard.loadOlder()
    // The button may be gone, so the focus moves to the first card it has loaded.
    requestAnimationFrame(() =>
      listElement.current?.children[length]?.querySelector<HTMLElement>('button, a')?.focus(),
    )
  }
  if (viewer === null || (isLoading && cards.length === 0))
    return html`<p class="empty" aria-busy="true">Reading…</p>`
  const isFiltered = Object.keys(filter).length > 0
  if (cards.length === 0 && oldestLoaded === null)
    return html`
      <p class="empty">${isFiltered ? 'Nothing of that kind.' : 'No videos yet. The first one is a picture and a sentence away.'}</p>
    `
  return html`
    <h2 class="visually-hidden"><span role="status">${cards.length}${oldestLoaded === null ? '' : ' newest'} predictions</span></h2>
    <ul class="grid" ref=${listElement}>
      ${cards.map(
        prediction => html`
          <${Card}
            key=${prediction.id} dashboard=${dashboard} prediction=${prediction} position=${positions.get(prediction.id)}
            model=${models.find(({ model }) => model === prediction.model)} />
        `,
      )}
    </ul>
    ${oldestLoaded !== null && html`<button class="more" onClick=${loadOlder}>Older</button>`}
  `
}
