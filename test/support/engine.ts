/**
 * An engine as the suites of the store use it. Whatever differs between engines is here.
 */
import type { Store } from '../../src/store/store.ts'

export interface Engine {
  /** Opens a store on an empty database of its own. */
  open(notify: () => void): Promise<Store>
  /** Makes an empty database that several stores may open, each like another process. */
  createDatabase(): Promise<TestDatabase>
  openRewindable(): Promise<RewindableStore>
  /** Whether `followProcessClock` shifts deadlines: the engine has no clock of its own. */
  followsProcessClock: boolean
}

export interface TestDatabase extends AsyncDisposable {
  /** For `openStore`. Stores on it must be closed first. */
  url: string
}

/** A store that can go back to an earlier state. */
export interface RewindableStore extends AsyncDisposable {
  store: Store
  /** Marks the present state. Marks are nested: the newest is released first. */
  mark(): Promise<StoreMark>
}

export interface StoreMark {
  /** Restores the marked state. The mark stays. */
  rewind(): Promise<void>
  release(): Promise<void>
}
