/**
 * Announces finished predictions to screen readers: a single one by its prompt, several within a second by their number.
 * Invariant: nothing is announced twice, and two announcements with equal texts have different ids.
 */
import type { PredictionCard } from './documents.ts'
import { shorten } from './format.ts'

export interface Announcement {
  id: number
  text: string
}

export interface EndAnnouncer {
  add(prediction: PredictionCard): void
  stop(): void
}

const BATCH_MS = 1000

export function createEndAnnouncer(announce: (announcement: Announcement) => void): EndAnnouncer {
  let timer: ReturnType<typeof setTimeout> | undefined
  let ended: PredictionCard[] = []
  let id = 0

  function flush(): void {
    timer = undefined
    announce({ id: id++, text: announcementText(ended) })
    ended = []
  }

  return {
    add(prediction) {
      if (prediction.status !== 'COMPLETED' && prediction.status !== 'FAILED') return
      ended.push(prediction)
      timer ??= setTimeout(flush, BATCH_MS)
    },
    stop: () => clearTimeout(timer),
  }
}

export function announcementText(ended: readonly PredictionCard[]): string {
  const [only, ...others] = ended
  if (only === undefined) return ''
  if (others.length === 0) {
    const prompt = shorten(only.input.prompt)
    return only.error === null ? `The video is there: ${prompt}` : `Failed: ${prompt}. ${only.error.message}`
  }
  const failed = ended.filter(({ status }) => status === 'FAILED').length
  const completed = ended.length - failed
  return [
    completed > 0 && (completed === 1 ? '1 video is there' : `${completed} videos are there`),
    failed > 0 && `${failed} failed`,
  ]
    .filter(Boolean)
    .join(', ')
}
