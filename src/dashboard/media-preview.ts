/**
 * A prediction's picture, and the video in its place once it is there. One that arrives while somebody looks plays by itself,
 * silent; an older one when it is asked to.
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
  const [wasUnderWay] = useState(status !== 'COMPLETED')
  const [isPlayRequested, setPlayRequested] = useState(false)
  const [isBroken, setBroken] = useState(false)
  const [isImageBroken, setImageBroken] = useState(false)
  const player = useRef<HTMLVideoElement>(null)
  const video = outputs[0]
  const isFlagged = video?.hasNsfwContent === true
  const autoplays = wasUnderWay && !isFlagged && !matchMedia('(prefers-reduced-motion: reduce)').matches
  // What could not be loaded while the gateway was away may be there again.
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
