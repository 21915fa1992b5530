/**
 * The app's usage and its limits.
 */
import { html } from 'htm/preact'
import type { Viewer } from './documents.ts'
import { formatMoney } from './format.ts'

export function UsagePanel({ viewer: { limits, usage } }: { viewer: Viewer }) {
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
        <${UsageRow} name="Running" value=${usage.inFlight} max=${maxInFlight} />
        <${UsageRow} name="Waiting" value=${usage.queued} max=${maxQueued} />
        <${UsageRow}
          name="Spent this month" value=${usage.spentThisMonth.amount} max=${monthlyBudget?.amount ?? null}
          format=${formatMoney} />
      </dl>
      ${others.length > 0 && html`<p class="hint">${others.join(' · ')}</p>`}
    </section>
  `
}

function UsageRow({
  name,
  value,
  max,
  format = String,
}: {
  name: string
  value: number
  max: number | null
  format?: (value: number) => string
}) {
  return html`
    <div>
      <dt>${name}</dt>
      <dd>
        ${format(value)}${max !== null && html`<span class="of"> of ${format(max)}</span>`}
        ${max !== null && html`<meter min="0" max=${max || 1} value=${value} high=${max * 0.9} aria-label=${name} />`}
      </dd>
    </div>
  `
}
