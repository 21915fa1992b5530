/**
 * What the app may use, and what it uses.
 */
import { html } from 'htm/preact'
import type { Viewer } from './documents.ts'
import { money } from './format.ts'

export function Account({ viewer: { limits, usage } }: { viewer: Viewer }) {
  const { maxInFlight, maxQueued, submitsPerMinute, monthlyBudget, weight } = limits
  const others = [
    submitsPerMinute !== null && `${submitsPerMinute} submits a minute`,
    weight !== 1 && `weight ${weight}`,
    [maxInFlight, maxQueued, submitsPerMinute, monthlyBudget].every(limit => limit === null) && 'no limits',
  ].filter(Boolean)
  return html`
    <section class="panel account" aria-labelledby="use">
      <h2 id="use">Use</h2>
      <dl>
        <${Use} name="Running" value=${usage.inFlight} most=${maxInFlight} />
        <${Use} name="Waiting" value=${usage.queued} most=${maxQueued} />
        <${Use}
          name="Spent this month" value=${usage.spentThisMonth.amount} most=${monthlyBudget?.amount ?? null}
          words=${money} />
      </dl>
      ${others.length > 0 && html`<p class="hint">${others.join(' · ')}</p>`}
    </section>
  `
}

function Use({
  name,
  value,
  most,
  words = String,
}: {
  name: string
  value: number
  most: number | null
  words?: (value: number) => string
}) {
  return html`
    <div>
      <dt>${name}</dt>
      <dd>
        ${words(value)}${most !== null && html`<span class="of"> of ${words(most)}</span>`}
        ${most !== null && html`<meter min="0" max=${most || 1} value=${value} high=${most * 0.9} aria-label=${name} />`}
      </dd>
    </div>
  `
}
