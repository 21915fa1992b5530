/**
 * One prediction: its picture or its video, how far it is, what it cost, and what can be done about it.
 */
import { html } from 'htm/preact'
import { useState } from 'preact/hooks'
import type { Board } from './dashboard-state.ts'
import type { Answer, Model, Prediction } from './documents.ts'
import { addressOf, ago, clock, money, refusal, STATUS_WORDS, seconds } from './format.ts'
import { Screen } from './media-preview.ts'

export interface CardProps {
  board: Board
  prediction: Prediction
  position: number | undefined
  model: Model | undefined
}

/** More would make the card, and its whole row, long. */
const MOST_TAGS = 3
const UNDER_WAY = new Set(['QUEUED', 'CREATED', 'PROCESSING'])

export function Card({ board, prediction, position, model }: CardProps) {
  const { id, status, input, error, cost, tags } = prediction
  return html`
    <li class=${`card ${status.toLowerCase()}`}>
      <article>
        <${Screen} prediction=${prediction} now=${board.now()} isLive=${board.state.isLive} />
        <div class="body">
          <p class="state">
            <span class="status">${STATUS_WORDS[status]}</span>
            <span class="when">${progressOf(prediction, position, model, board.now())}</span>
          </p>
          ${UNDER_WAY.has(status) && html`<${Progress} prediction=${prediction} model=${model} now=${board.now()} />`}
          <h3 id=${`prompt-${id}`} title=${input.prompt}>${input.prompt}</h3>
          ${error && html`<p class="error">${error.message}</p>`}
          <p class="facts">
            <span>${model?.resolution ?? prediction.model}</span>
            <span>${money(cost.amount)}</span>
            ${tags.slice(0, MOST_TAGS).map(tag => html`<span class="tag">${tag}</span>`)}
            ${tags.length > MOST_TAGS && html`<span class="tag" title=${tags.join(', ')}>+${tags.length - MOST_TAGS}</span>`}
          </p>
          <${Actions} board=${board} prediction=${prediction} price=${model?.cost.amount ?? cost.amount} />
        </div>
      </article>
    </li>
  `
}

function progressOf(
  prediction: Prediction,
  position: number | undefined,
  model: Model | undefined,
  now: number,
): string {
  const { status, createdAt, submittedAt, finishedAt } = prediction
  if (status === 'QUEUED')
    return `${position === undefined ? '' : `no. ${position} in the queue · `}${clock(now - Date.parse(createdAt))}`
  if (UNDER_WAY.has(status)) {
    const usual = model?.expectedSeconds ?? null
    return `${clock(now - Date.parse(submittedAt ?? createdAt))}${usual === null ? '' : ` · usually ${seconds(usual)}`}`
  }
  if (finishedAt === null) return ''
  const took =
    submittedAt && status === 'COMPLETED'
      ? `in ${seconds((Date.parse(finishedAt) - Date.parse(submittedAt)) / 1000)}, `
      : ''
  return `${took}${ago(finishedAt, now)}`
}

/** Against what the model usually takes; nobody upstream tells how far a job really is. */
function Progress({
  prediction,
  model,
  now,
}: {
  prediction: Prediction
  model: Model | undefined
  now: number
}) {
  const { submittedAt } = prediction
  const usual = model?.expectedSeconds ?? null
  if (submittedAt === null || usual === null) return html`<div class="progress waiting" />`
  const share = (now - Date.parse(submittedAt)) / 1000 / usual
  // What takes longer than usual is not done: the bar nears its end and never gets there.
  const shown = 100 * Math.max(0, share < 0.9 ? share : 0.97 - 0.07 * Math.exp((0.9 - share) / 0.07))
  return html`
    <div
      class="progress" role="progressbar" aria-label="Progress, by the usual time" aria-valuemin="0" aria-valuemax="100"
      aria-valuenow=${Math.floor(shown)} aria-valuetext=${`${Math.floor(shown)} %, usually ${seconds(usual)}`} title=${`usually ${seconds(usual)}`}>
      <div style=${{ width: `${shown}%` }} />
    </div>
  `
}

function Actions({ board, prediction, price }: { board: Board; prediction: Prediction; price: number }) {
  const { id, status, outputs } = prediction
  const [said, say] = useState<string | null>(null)
  const [isBusy, setBusy] = useState(false)

  async function act(ask: () => Promise<Answer>, done: (answer: Answer) => string | null) {
    if (isBusy) return
    setBusy(true)
    say(null)
    try {
      const answer = await ask()
      say(answer.code === undefined ? done(answer) : refusal(answer, price))
    } catch (error) {
      say((error as Error).message)
    }
    setBusy(false)
  }
  const cancel = () =>
    act(
      () => board.cancel(id),
      ({ mayStillBeCharged }) =>
        mayStillBeCharged ? 'It was sent already: it goes on upstream, and is charged.' : null,
    )
  const retry = () =>
    act(
      () => board.retry(id),
      () => 'Submitted anew.',
    )

  const isUnderWay = UNDER_WAY.has(status)
  const isOver = status === 'FAILED' || status === 'CANCELED'
  // One button, whose words change: the focus stays where it was.
  return html`
    <p class="actions">
      ${
        (isUnderWay || isOver) &&
        html`<button key="act" onClick=${isUnderWay ? cancel : retry} aria-disabled=${isBusy} aria-describedby=${`prompt-${id}`}>
          ${isUnderWay ? 'Cancel' : `Retry · ${money(price)}`}
        </button>`
      }
      ${
        addressOf(outputs[0]?.url ?? '') &&
        html`<a
          key="open" class="button" href=${outputs[0]?.url} target="_blank" rel="noreferrer" aria-describedby=${`prompt-${id}`}
        >Open video</a>`
      }
      <span class="said" role="status">${said}</span>
    </p>
  `
}
