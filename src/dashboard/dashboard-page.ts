/**
 * The board as a page: what is known of the app, the form, and the grid.
 */
import { html } from 'htm/preact'
import { useEffect, useRef } from 'preact/hooks'
import { Account } from './account.ts'
import type { Board } from './dashboard-state.ts'
import { Filters } from './filters.ts'
import { SubmitForm } from './form.ts'
import { clock } from './format.ts'
import { Grid } from './grid.ts'
import { useBoard, useEvery } from './hooks.ts'
import { HourPlot } from './plot.ts'

export function Desk({ board, onLeave }: { board: Board; onLeave(): void }) {
  const state = useBoard(board)
  const { viewer, sayings } = state
  useTitle(board)
  // Whoever came through the gate stands at the top of the page.
  const top = useRef<HTMLHeadingElement>(null)
  useEffect(() => top.current?.focus({ preventScroll: true }), [])
  return html`
    <header class="bar">
      <h1 tabindex="-1" ref=${top}><a class="brand" href="/"><img src="/assets/dashboard/icon.svg" alt="" width="24" height="24" />Rushes</a></h1>
      <span class="app">${viewer?.name}</span>
      <${Link} board=${board} />
      <nav>
        <a href="/graphql">GraphiQL</a>
        <button class="quiet" onClick=${onLeave}>Forget key</button>
      </nav>
    </header>
    <main class="desk">
      <div class="side">
        <${SubmitForm} board=${board} models=${state.models} />
        ${viewer && html`<${Account} viewer=${viewer} />`}
      </div>
      <div class="work">
        <${HourPlot} board=${board} />
        <${Filters} board=${board} shelf=${state.shelf} filter=${state.filter} />
        <${Grid} board=${board} state=${state} />
      </div>
    </main>
    <div class="unseen" role="log">
      ${sayings.map(({ id, words }) => html`<p key=${id}>${words}</p>`)}
    </div>
  `
}

/** For a tab that nobody looks at. */
function useTitle({ state: { downSince, viewer } }: Board): void {
  const busy = (viewer?.usage.inFlight ?? 0) + (viewer?.usage.queued ?? 0)
  const title = downSince !== null ? 'Offline · Rushes' : busy > 0 ? `(${busy}) Rushes` : 'Rushes'
  useEffect(() => {
    document.title = title
  }, [title])
  useEffect(
    () => () => {
      document.title = 'Rushes'
    },
    [],
  )
}

/** Whether what is shown is of now. */
function Link({ board }: { board: Board }) {
  const { isLive, downSince, trouble } = board.state
  useEvery(1000, downSince !== null)
  if (downSince !== null)
    return html`
      <span class="link down">
        <span role="status">Offline, trying again</span>
        <span aria-hidden="true"> for ${clock(Date.now() - downSince)}</span>
      </span>
    `
  const words = trouble ?? (isLive ? 'Live' : 'Connecting…')
  return html`<span class=${`link ${isLive && trouble === null ? 'live' : ''}`} role="status">${words}</span>`
}
