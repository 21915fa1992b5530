/**
 * A prediction's image, replaced by the video once it is ready. A video that becomes ready while the page is open plays by
 * itself, muted; an older one plays on request.
 */
import { html } from 'htm/preact'
import { useEffect, useRef, useState } from 'preact/hooks'
import type { PredictionCard } from './documents.ts'
import { httpUrlOrUndefined, shorten } from './format.ts'

export interface MediaPreviewProps {
  prediction: PredictionCard
  now: number
  isLive: boolean
}

const OUTPUT_RETENTION_MS = 7 * 24 * 60 * 60 * 1000

export function MediaPreview({
  prediction: { status, input, outputs, finishedAt },
  now,
  isLive,
}: MediaPreviewProps) {
  const [wasUnfinished] = useState(status !== 'COMPLETED')
  const [isPlayRequested, setPlayRequested] = useState(false)
  const [isBroken, setBroken] = useState(false)
  const [isImageBroken, setImageBroken] = useState(false)
  const player = useRef<HTMLVideoElement>(null)
  const video = outputs[0]
  const isFlagged = video?.hasNsfwContent === true
  const autoplays = wasUnfinished && !isFlagged && !matchMedia('(prefers-reduced-motion: reduce)').matches
  // Media that could not be loaded while the gateway was unreachable may load now.
  useEffect(() => {
    if (!isLive) return
    setBroken(false)
    setImageBroken(false)
  }, [isLive])
  useEffect(() => {
    if (isPlayRequested) player.current?.focus()
  }, [isPlayRequested])

  if (video !== undefined && !isBroken && (autoplays || isPlayRequested))
    return html`
      <div class="screen">
        <video
          ref=${player} tabindex="0"
          src=${httpUrlOrUndefined(video.url)} poster=${isFlagged ? undefined : httpUrlOrUndefined(input.imageUrl)}
          aria-label=${`Video: ${shorten(input.prompt)}`}
          controls loop playsinline autoplay muted=${!isPlayRequested}
          onError=${() => {
            setBroken(true)
            setPlayRequested(false)
          }} />
      </div>
    `
  const isExpired = finishedAt !== null && now - Date.parse(finishedAt) > OUTPUT_RETENTION_MS
  const message = isBroken
    ? isExpired
      ? 'The video is no longer kept; upstream does so for seven days.'
      : 'The video can’t be loaded now.'
    : isFlagged
      ? 'Flagged as not safe for work'
      : isImageBroken
        ? 'The image can’t be shown here.'
        : null
  const play = () => {
    setBroken(false)
    setPlayRequested(true)
  }
  return html`
    <div class=${`screen ${message === null ? '' : 'none'}`}>
      ${
        message === null
          ? html`<img
              src=${httpUrlOrUndefined(input.imageUrl)} alt="" loading="lazy" decoding="async"
              onError=${() => setImageBroken(true)} />`
          : html`<span>${message}</span>`
      }
      ${video && html`<button class="play" aria-label=${`Play: ${shorten(input.prompt)}`} onClick=${play} />`}
    </div>
  `
}
