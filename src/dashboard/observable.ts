/**
 * An observable immutable value. It notifies its listeners at most once per animation frame.
 */
export interface Observable<Value> {
  readonly value: Value
  set(change: Partial<Value>): void
  subscribe(listener: () => void): () => void
  stop(): void
}

export function createObservable<Value extends object>(first: Value): Observable<Value> {
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
    subscribe(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    stop() {
      isStopped = true
      cancelAnimationFrame(frame)
    },
  }
}
