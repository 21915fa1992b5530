/**
 * Shows the progress of a job: one live line on a terminal, a plain line per change in a pipe.
 */
export interface Progress {
  /** Shows the current state. */
  update(text: string): void
  /** Ends the live line; its last text stays. */
  end(): void
}

const FRAMES = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏']
const FRAME_MS = 100

export function createProgress(stream: NodeJS.WriteStream, now: () => number = Date.now): Progress {
  const startedAt = now()
  const seconds = () => ((now() - startedAt) / 1000).toFixed(1).padStart(5)
  let text = ''
  if (!stream.isTTY)
    return {
      update: next => {
        if (next !== text) stream.write(`${seconds()} s  ${next}\n`)
        text = next
      },
      end() {},
    }

  let frame = 0
  const draw = (mark: string) => {
    const line = `${mark} ${seconds()} s  ${text}`
    stream.write(`\r\x1b[2K${line.slice(0, Math.max(1, stream.columns - 1))}`)
  }
  const timer = setInterval(() => draw(FRAMES[frame++ % FRAMES.length]!), FRAME_MS)
  return {
    update(next) {
      text = next
      draw(FRAMES[frame % FRAMES.length]!)
    },
    end() {
      clearInterval(timer)
      draw('•')
      stream.write('\n')
    },
  }
}
