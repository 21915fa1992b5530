/**
 * Cleanups of parts that are built one after the other.
 * Invariant: cleanups run last first, each once. If a build fails half-way, everything that was built is closed.
 */
export interface CleanupStack {
  push(cleanup: () => Promise<void> | void): void
  run(): Promise<void>
}

/** Calls `build` with an empty stack. If `build` throws, the cleanups that it has pushed run before the error is passed on. */
export async function withCleanups<Built>(build: (cleanups: CleanupStack) => Promise<Built>): Promise<Built> {
  const pushed: (() => Promise<void> | void)[] = []
  const cleanups: CleanupStack = {
    push: cleanup => void pushed.push(cleanup),
    async run() {
      for (const cleanup of pushed.splice(0).reverse()) await cleanup()
    },
  }
  try {
    return await build(cleanups)
  } catch (error) {
    await cleanups.run()
    throw error
  }
}
