/**
 * Runs `refresh` `minIntervalMs` after a trigger, and again every `maxIntervalMs` while it resolves to true.
 * Invariant: one run at a time; a trigger during a run is followed by another run.
 */
export interface DebouncedRefresh {
  trigger(): void
  stop(): void
}

export function createDebouncedRefresh(
  refresh: () => Promise<boolean>,
  minIntervalMs: number,
  maxIntervalMs: number,
): DebouncedRefresh {
  let timer: ReturnType<typeof setTimeout> | undefined
  /** A run is scheduled, or will be when the current one ends. */
  let isTriggered = false
  let isRunning = false
  let isStopped = false

  function schedule(ms: number): void {
    clearTimeout(timer)
    timer = setTimeout(run, ms)
  }

  async function run(): Promise<void> {
    isTriggered = false
    isRunning = true
    const shouldRepeat = await refresh()
    isRunning = false
    if (isStopped) return
    if (isTriggered) schedule(minIntervalMs)
    else if (shouldRepeat) schedule(maxIntervalMs)
  }

  return {
    trigger() {
      if (isTriggered || isStopped) return
      isTriggered = true
      if (!isRunning) schedule(minIntervalMs)
    },
    stop() {
      isStopped = true
      clearTimeout(timer)
    },
  }
}
