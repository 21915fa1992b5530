/**
 * The card of one prediction: image or video, progress, cost and actions.
 */
import { html } from 'htm/preact'
import { useState } from 'preact/hooks'
import type { Dashboard } from './dashboard-state.ts'
import type { Model, MutationResult, PredictionCard } from './documents.ts'
import {
  formatAgo,
  formatClock,
  formatError,
  formatMoney,
  formatSeconds,
  httpUrlOrUndefined,
  STATUS_LABELS,
} from './format.ts'
import { MediaPreview } from './media-preview.ts'
import { isUnfinished } from './prediction-list.ts'

export interface CardProps {
  dashboard: Dashboard
  prediction: PredictionCard
  position: number | undefined
  model: Model | undefined
}

/** More tags would make the card, and its whole row, too tall. */
const MAX_TAGS = 3

export function Card({ dashboard, prediction, position, model }: CardProps) {
  const { id, status, input, error, cost, tags } = prediction
  return html`
    <li class=${`card ${status.toLowerCase()}`}>
      <article>
        <${MediaPreview} prediction=${prediction} now=${dashboard.now()} isLive=${dashboard.state.isLive} />
        <div class="body">
          <p class="state">
            <span class="status">${STATUS_LABELS[status]}</span>
            <span class="when">${progressText(prediction, position, model, dashboard.now())}</span>
          </p>
          ${isUnfinished(status) && html`<${Progress} prediction=${prediction} model=${model} now=${dashboard.now()} />`}
          <h3 id=${`prompt-${id}`} title=${input.prompt}>${input.prompt}</h3>
          ${error && html`<p class="error">${error.message}</p>`}
          <p class="facts">
            <span>${model?.resolution ?? prediction.model}</span>
            <span>${formatMoney(cost.amount)}</span>
            ${tags.slice(0, MAX_TAGS).map(tag => html`<span class="tag">${tag}</span>`)}
            ${tags.length > MAX_TAGS && html`<span class="tag" title=${tags.join(', ')}>+${tags.length - MAX_TAGS}</span>`}
          </p>
          <${Actions} dashboard=${dashboard} prediction=${prediction} price=${model?.cost.amount ?? cost.amount} />
        </div>
      </article>
    </li>
  `
}

function progressText(
  prediction: PredictionCard,
  position: number | undefined,
  model: Model | undefined,
  now: number,
): string {
  const { status, createdAt, submittedAt, finishedAt } = prediction
  if (status === 'QUEUED')
    return `${position === undefined ? '' : `no. ${position} in the queue · `}${formatClock(now - Date.parse(createdAt))}`
  if (isUnfinished(status)) {
    const expectedSeconds = model?.expectedSeconds ?? null
    return `${formatClock(now - Date.parse(submittedAt ?? createdAt))}${expectedSeconds === null ? '' : ` · usually ${formatSeconds(expectedSeconds)}`}`
  }
  if (finishedAt === null) return ''
  const took =
    submittedAt && status === 'COMPLETED'
      ? `in ${formatSeconds((Date.parse(finishedAt) - Date.parse(submittedAt)) / 1000)}, `
      : ''
  return `${took}${formatAgo(finishedAt, now)}`
}

/** Progress relative to the model's usual time, since upstream does not report progress. */
function Progress({
  prediction,
  model,
  now,
}: {
  prediction: PredictionCard
  model: Model | undefined
  now: number
}) {
  const { submittedAt } = prediction
  const expectedSeconds = model?.expectedSeconds ?? null
  if (submittedAt === null || expectedSeconds === null) return html`<div class="progress waiting" />`
  const share = (now - Date.parse(submittedAt)) / 1000 / expectedSeconds
  // If a job takes longer than usual, the bar approaches its end and never reaches it.
  const shown = 100 * Math.max(0, share < 0.9 ? share : 0.97 - 0.07 * Math.exp((0.9 - share) / 0.07))
  return html`
    <div
      class="progress" role="progressbar" aria-label="Progress, by the usual time" aria-valuemin="0" aria-valuemax="100"
      aria-valuenow=${Math.floor(shown)} aria-valuetext=${`${Math.floor(shown)} %, usually ${formatSeconds(expectedSeconds)}`} title=${`usually ${formatSeconds(expectedSeconds)}`}>
      <div style=${{ width: `${shown}%` }} />
    </div>
  `
}

function Actions({
  dashboard,
  prediction,
  price,
}: {
  dashboard: Dashboard
  prediction: PredictionCard
  price: number
}) {
  const { id, status, outputs } = prediction
  const [message, setMessage] = useState<string | null>(null)
  const [isBusy, setBusy] = useState(false)

  async function act(
    send: () => Promise<MutationResult>,
    messageFor: (result: MutationResult) => string | null,
  ) {
    if (isBusy) return
    setBusy(true)
    setMessage(null)
    try {
      const result = await send()
      setMessage(result.code === undefined ? messageFor(result) : formatError(result, price))
    } catch (error) {
      setMessage((error as Error).message)
    }
    setBusy(false)
  }
  const cancel = () =>
    act(
      () => dashboard.cancel(id),
      ({ mayStillBeCharged }) =>
        mayStillBeCharged ? 'It was sent already: it goes on upstream, and is charged.' : null,
    )
  const retry = () =>
    act(
      () => dashboard.retry(id),
      () => 'Submitted anew.',
    )

  const canCancel = isUnfinished(status)
  const canRetry = status === 'FAILED' || status === 'CANCELED'
  // Cancel and retry are one button whose label changes, so it keeps the focus.
  return html`
    <p class="actions">
      ${
        (canCancel || canRetry) &&
        html`<button key="act" onClick=${canCancel ? cancel : retry} aria-disabled=${isBusy} aria-describedby=${`prompt-${id}`}>
          ${canCancel ? 'Cancel' : `Retry · ${formatMoney(price)}`}
        </button>`
      }
      ${
        httpUrlOrUndefined(outputs[0]?.url ?? '') &&
        html`<a
          key="open" class="button" href=${outputs[0]?.url} target="_blank" rel="noreferrer" aria-describedby=${`prompt-${id}`}
        >Open video</a>`
      }
      <span class="message" role="status">${message}</span>
    </p>
  `
}
