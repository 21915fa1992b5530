/**
 * A timeout that counts only the time in which this process ran.
 * Invariant: a process that was stopped, or whose machine slept, reads what arrived meanwhile before the timeout ends the
 * wait. The timers of an event loop run before its sockets are read, so a plain timer would end the wait first.
 */

/** The timer's interval in ms, and the most by which one tick raises the counted time, however long the process was stopped. */
const TICK_MS = 500
/** After a tick that was late by more than a tick, at least this much time is left, ms, to read and parse an answer. */
const LEFT_AFTER_STOP_MS = 2 * TICK_MS

/**
 * Calls `run` with a signal that aborts when `stop` does, or after `timeoutMs` of running time. The signal's reason is
 * then a `TimeoutError`.
 */
export async function withRunningTimeout<Result>(
  stop: AbortSignal,
  timeoutMs: number,
  run: (signal: AbortSignal) => Promise<Result>,
): Promise<Result> {
  const controller = new AbortController()
  const abort = () => controller.abort(stop.reason)
  let timer: NodeJS.Timeout | undefined
  let immediate: NodeJS.Immediate | undefined
  const tick = (leftMs: number) => {
    const stepMs = Math.min(leftMs, TICK_MS)
    const startedAt = performance.now()
    timer = setTimeout(() => {
      const wasStopped = performance.now() - startedAt > stepMs + TICK_MS
      const nextLeftMs = Math.max(leftMs - stepMs, wasStopped ? LEFT_AFTER_STOP_MS : 0)
      if (nextLeftMs > 0) tick(nextLeftMs)
      // The sockets are read once more before this.
      else immediate = setImmediate(() => controller.abort(timeoutError()))
    }, stepMs)
  }
  if (stop.aborted) abort()
  else stop.addEventListener('abort', abort, { once: true })
  tick(timeoutMs)
  try {
    return await run(controller.signal)
  } finally {
    clearTimeout(timer)
    clearImmediate(immediate)
    stop.removeEventListener('abort', abort)
  }
}

const timeoutError = () => new DOMException('The operation timed out', 'TimeoutError')
