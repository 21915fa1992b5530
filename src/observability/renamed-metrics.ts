/**
 * Metrics that were renamed, under their former names beside the present ones. The next release drops them.
 * Source of the values: the text that prom-client renders, so a former name can't differ from the present
 * one.
 */

interface RenamedMetric {
  from: string
  to: string
  /** Present label name to the former one. */
  labels?: Readonly<Record<string, string>>
  /** Present label value to the former one, of the only label. Given where only values were renamed. */
  values?: Readonly<Record<string, string>>
}

const RENAMED_METRICS: readonly RenamedMetric[] = [
  { from: 'rushes_refused_total', to: 'rushes_rejections_total', labels: { code: 'reason' } },
  { from: 'rushes_wrong_keys_total', to: 'rushes_invalid_credentials_total' },
  { from: 'rushes_queue_seconds', to: 'rushes_queue_wait_seconds' },
  { from: 'rushes_app_watchers', to: 'rushes_app_subscriptions' },
  { from: 'rushes_submits_paused', to: 'rushes_submit_circuit_open' },
  { from: 'rushes_submits_on_trial', to: 'rushes_submit_circuit_half_open' },
  { from: 'rushes_concurrency', to: 'rushes_concurrency_limit' },
  { from: 'rushes_reads_failing', to: 'rushes_poll_circuit_open' },
  {
    from: 'rushes_predictions',
    to: 'rushes_predictions',
    values: { queued: 'waiting', submitting: 'begun', expired: 'late', unresolved: 'sought' },
  },
]

/** @param text the Prometheus text format, one blank line between metrics */
export function withRenamedMetrics(text: string): string {
  const byName = new Map(RENAMED_METRICS.map(renamed => [renamed.to, renamed]))
  return text
    .trimEnd()
    .split('\n\n')
    .map(metric => {
      const renamed = byName.get(/^# HELP (\S+)/.exec(metric)?.[1] ?? '')
      return renamed === undefined ? metric : withFormerName(metric, renamed)
    })
    .join('\n\n')
    .concat('\n')
}

function withFormerName(metric: string, { from, to, labels = {}, values }: RenamedMetric): string {
  const lines = metric.split('\n')
  if (values !== undefined) {
    const former = lines.flatMap(line => {
      const value = /^\w+\{\w+="(\w+)"\}/.exec(line)?.[1]
      return value !== undefined && value in values ? [line.replace(`"${value}"`, `"${values[value]}"`)] : []
    })
    return [...lines, ...former].join('\n')
  }
  const former = lines.map(line => {
    if (line.startsWith('# HELP ')) return `# HELP ${from} Former name of ${to}; goes with the next release.`
    let renamed = line.replace(to, from)
    for (const [now, before] of Object.entries(labels))
      renamed = renamed.replace(new RegExp(`([{,])${now}="`), `$1${before}="`)
    return renamed
  })
  return `${metric}\n\n${former.join('\n')}`
}
