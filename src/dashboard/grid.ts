/**
 * The predictions, newest first.
 */
import { html } from 'htm/preact'
import { useRef } from 'preact/hooks'
import { Card } from './card.ts'
import type { Board, State } from './dashboard-state.ts'
import type { Prediction } from './documents.ts'
import { useEvery } from './hooks.ts'
import { narrow } from './prediction-list.ts'

const isUnderWay = ({ status }: Prediction) =>
  status === 'QUEUED' || status === 'CREATED' || status === 'PROCESSING'

export function Grid({ board, state }: { board: Board; state: State }) {
  const { viewer, shelf, filter, positions, models, isReading } = state
  const { cards, floor } = isReading ? narrow(shelf, filter) : shelf
  useEvery(1000, cards.some(isUnderWay))
  const list = useRef<HTMLUListElement>(null)
  const readOlder = async () => {
    const { length } = cards
    await board.readOlder()
    // The button may be gone; whoever pressed it goes on with what it brought.
    requestAnimationFrame(() =>
      list.current?.children[length]?.querySelector<HTMLElement>('button, a')?.focus(),
    )
  }
  if (viewer === null || (isReading && cards.length === 0))
    return html`<p class="empty" aria-busy="true">Reading…</p>`
  const isFiltered = Object.keys(filter).length > 0
  if (cards.length === 0 && floor === null)
    return html`
      <p class="empty">${isFiltered ? 'Nothing of that kind.' : 'No videos yet. The first one is a picture and a sentence away.'}</p>
    `
  return html`
    <h2 class="unseen"><span role="status">${cards.length}${floor === null ? '' : ' newest'} predictions</span></h2>
    <ul class="grid" ref=${list}>
      ${cards.map(
        prediction => html`
          <${Card}
            key=${prediction.id} board=${board} prediction=${prediction} position=${positions.get(prediction.id)}
            model=${models.find(({ model }) => model === prediction.model)} />
        `,
      )}
    </ul>
    ${floor !== null && html`<button class="more" onClick=${readOlder}>Older</button>`}
  `
}
