/**
 * A value that is replaced and never changed; whoever watches it is told, once a frame at most.
 */
export interface Watched<Value> {
  readonly value: Value
  set(change: Partial<Value>): void
  watch(listener: () => void): () => void
  stop(): void
}

export function createWatched<Value extends object>(first: Value): Watched<Value> {
  const listeners = new Set<() => void>()
  let value = first
  let frame = 0
  let isStopped = false

  return {
    get value() {
      return value
    },
    set(change) {
      value = { ...value, ...change }
      if (frame !== 0 || isStopped) return
      frame = requestAnimationFrame(() => {
        frame = 0
        for (const listener of listeners) listener()
      })
    },
    watch(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    stop() {
      isStopped = true
      cancelAnimationFrame(frame)
    },
  }
}
