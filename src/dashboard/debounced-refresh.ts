/**
 * Repeats something after each ring, but not more often than `leastMs`; and every `mostMs` as long as it says so.
 * Invariant: it runs once at a time, and a ring that comes meanwhile is followed by another run.
 */
export interface Pulse {
  ring(): void
  stop(): void
}

export function createPulse(act: () => Promise<boolean>, leastMs: number, mostMs: number): Pulse {
  let timer: ReturnType<typeof setTimeout> | undefined
  /** A run is about to begin, or will be when this one is over. */
  let isRung = false
  let isRunning = false
  let isStopped = false

  function wait(ms: number): void {
    clearTimeout(timer)
    timer = setTimeout(run, ms)
  }

  async function run(): Promise<void> {
    isRung = false
    isRunning = true
    const goesOn = await act()
    isRunning = false
    if (isStopped) return
    if (isRung) wait(leastMs)
    else if (goesOn) wait(mostMs)
  }

  return {
    ring() {
      if (isRung || isStopped) return
      isRung = true
      if (!isRunning) wait(leastMs)
    },
    stop() {
      isStopped = true
      clearTimeout(timer)
    },
  }
}
