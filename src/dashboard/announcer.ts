/**
 * Says to whoever doesn't look what has ended: one by its prompt, several of a moment by their number.
 * Invariant: nothing is said twice, and the same words twice are two sayings.
 */
import type { Prediction } from './documents.ts'
import { short } from './format.ts'

export interface Saying {
  id: number
  words: string
}

export interface Announcer {
  hear(prediction: Prediction): void
  stop(): void
}

const GATHER_MS = 1000

export function createAnnouncer(say: (saying: Saying) => void): Announcer {
  let timer: ReturnType<typeof setTimeout> | undefined
  let ended: Prediction[] = []
  let id = 0

  function tell(): void {
    timer = undefined
    say({ id: id++, words: sayingOf(ended) })
    ended = []
  }

  return {
    hear(prediction) {
      if (prediction.status !== 'COMPLETED' && prediction.status !== 'FAILED') return
      ended.push(prediction)
      timer ??= setTimeout(tell, GATHER_MS)
    },
    stop: () => clearTimeout(timer),
  }
}

export function sayingOf(ended: readonly Prediction[]): string {
  const [only, ...others] = ended
  if (only === undefined) return ''
  if (others.length === 0) {
    const prompt = short(only.input.prompt)
    return only.error === null ? `The video is there: ${prompt}` : `Failed: ${prompt}. ${only.error.message}`
  }
  const failed = ended.filter(({ status }) => status === 'FAILED').length
  const there = ended.length - failed
  return [
    there > 0 && (there === 1 ? '1 video is there' : `${there} videos are there`),
    failed > 0 && `${failed} failed`,
  ]
    .filter(Boolean)
    .join(', ')
}
