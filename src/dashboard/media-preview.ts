/**
 * A prediction's picture, and the video in its place once it is there. One that arrives while somebody looks plays by itself,
 * silent; an older one when it is asked to.
 */
import { html } from 'htm/preact'
import { useEffect, useRef, useState } from 'preact/hooks'
import type { Prediction } from './documents.ts'
import { addressOf, short } from './format.ts'

export interface ScreenProps {
  prediction: Prediction
  now: number
  isLive: boolean
}

const KEPT_MS = 7 * 24 * 60 * 60 * 1000

export function Screen({ prediction: { status, input, outputs, finishedAt }, now, isLive }: ScreenProps) {
  const [wasUnderWay] = useState(status !== 'COMPLETED')
  const [isAsked, ask] = useState(false)
  const [isBroken, setBroken] = useState(false)
  const [hasNoPicture, setNoPicture] = useState(false)
  const player = useRef<HTMLVideoElement>(null)
  const video = outputs[0]
  const isFlagged = video?.hasNsfwContent === true
  const plays = wasUnderWay && !isFlagged && !matchMedia('(prefers-reduced-motion: reduce)').matches
  // What could not be loaded while the gateway was away may be there again.
  useEffect(() => {
    if (!isLive) return
    setBroken(false)
    setNoPicture(false)
  }, [isLive])
  useEffect(() => {
    if (isAsked) player.current?.focus()
  }, [isAsked])

  if (video !== undefined && !isBroken && (plays || isAsked))
    return html`
      <div class="screen">
        <video
          ref=${player} tabindex="0"
          src=${addressOf(video.url)} poster=${isFlagged ? undefined : addressOf(input.imageUrl)}
          aria-label=${`Video: ${short(input.prompt)}`}
          controls loop playsinline autoplay muted=${!isAsked}
          onError=${() => {
            setBroken(true)
            ask(false)
          }} />
      </div>
    `
  const isOver = finishedAt !== null && now - Date.parse(finishedAt) > KEPT_MS
  const words = isBroken
    ? isOver
      ? 'The video is no longer kept; upstream does so for seven days.'
      : 'The video can’t be loaded now.'
    : isFlagged
      ? 'Flagged as not safe for work'
      : hasNoPicture
        ? 'The image can’t be shown here.'
        : null
  const play = () => {
    setBroken(false)
    ask(true)
  }
  return html`
    <div class=${`screen ${words === null ? '' : 'none'}`}>
      ${
        words === null
          ? html`<img
              src=${addressOf(input.imageUrl)} alt="" loading="lazy" decoding="async"
              onError=${() => setNoPicture(true)} />`
          : html`<span>${words}</span>`
      }
      ${video && html`<button class="play" aria-label=${`Play: ${short(input.prompt)}`} onClick=${play} />`}
    </div>
  `
}
