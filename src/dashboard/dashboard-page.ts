/**
 * The dashboard as a page: header, submit form, usage, plot, filters and predictions.
 */
import { html } from 'htm/preact'
import { useEffect, useRef } from 'preact/hooks'
import type { Dashboard } from './dashboard-state.ts'
import { Filters } from './filters.ts'
import { formatClock } from './format.ts'
import { useDashboard, useRedrawEvery } from './hooks.ts'
import { HourPlot } from './hour-plot.ts'
import { PredictionGrid } from './prediction-grid.ts'
import { SubmitForm } from './submit-form.ts'
import { UsagePanel } from './usage-panel.ts'

export function DashboardPage({ dashboard, onLeave }: { dashboard: Dashboard; onLeave(): void }) {
  const state = useDashboard(dashboard)
  const { viewer, announcements } = state
  useTitle(dashboard)
  // After the key prompt the focus is at the top of the page.
  const top = useRef<HTMLHeadingElement>(null)
  useEffect(() => top.current?.focus({ preventScroll: true }), [])
  return html`
    <header class="bar">
      <h1 tabindex="-1" ref=${top}><a class="brand" href="/"><img src="/assets/dashboard/icon.svg" alt="" width="24" height="24" />Rushes</a></h1>
      <span class="app">${viewer?.name}</span>
      <${ConnectionStatus} dashboard=${dashboard} />
      <nav>
        <a href="/graphql">GraphiQL</a>
        <button class="quiet" onClick=${onLeave}>Forget key</button>
      </nav>
    </header>
    <main class="dashboard-page">
      <div class="side">
        <${SubmitForm} dashboard=${dashboard} models=${state.models} />
        ${viewer && html`<${UsagePanel} viewer=${viewer} />`}
      </div>
      <div class="work">
        <${HourPlot} dashboard=${dashboard} />
        <${Filters} dashboard=${dashboard} list=${state.list} filter=${state.filter} />
        <${PredictionGrid} dashboard=${dashboard} state=${state} />
      </div>
    </main>
    <div class="visually-hidden" role="log">
      ${announcements.map(({ id, text }) => html`<p key=${id}>${text}</p>`)}
    </div>
  `
}

/** Shows the number of unfinished predictions in the tab's title, for a tab in the background. */
function useTitle({ state: { offlineSince, viewer } }: Dashboard): void {
  const unfinished = (viewer?.usage.inFlight ?? 0) + (viewer?.usage.queued ?? 0)
  const title =
    offlineSince !== null ? 'Offline · Rushes' : unfinished > 0 ? `(${unfinished}) Rushes` : 'Rushes'
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

/** Shows whether the page is up to date. */
function ConnectionStatus({ dashboard }: { dashboard: Dashboard }) {
  const { isLive, offlineSince, errorMessage } = dashboard.state
  useRedrawEvery(1000, offlineSince !== null)
  if (offlineSince !== null)
    return html`
      <span class="link down">
        <span role="status">Offline, trying again</span>
        <span aria-hidden="true"> for ${formatClock(Date.now() - offlineSince)}</span>
      </span>
    `
  const text = errorMessage ?? (isLive ? 'Live' : 'Connecting…')
  return html`<span class=${`link ${isLive && errorMessage === null ? 'live' : ''}`} role="status">${text}</span>`
}
