/**
 * Whether the database can be written at present. All writers of a process share it: after one of them failed, the
 * others do not try before `retryAt`.
 * Invariant: the event loop does not wait for another process. SQLite waits at most `busy_timeout` in a try, and tries
 * become rare.
 */
import { performance } from 'node:perf_hooks'
import { setTimeout as delay } from 'node:timers/promises'
import { DatabaseUnavailable } from '../../domain/errors.ts'
import type { DatabaseFault } from '../store.ts'
import { findDatabaseFault } from './sqlite-errors.ts'

export interface Outage {
  fault: DatabaseFault
  /** What a writer gets before `retryAt`. */
  error: Error
  /** By the monotonic clock, ms. */
  since: number
  retryAt: number
}

export interface WriteGate {
  /** `outage` is null while writes succeed. A plain field: each submit reads it. */
  readonly state: { outage: Outage | null }
  /** Throws if a write would fail, or failed just now. */
  assertOpen(): void
  /** Looks at the files now. */
  areFilesInPlace(): boolean
  recordSuccess(): void
  /** True if the error says that the database can't be written. Any other error is the writer's own. */
  recordFailure(error: unknown): boolean
  /** Runs a write of a worker, which tries again by itself. */
  run<Result>(write: () => Promise<Result>): Promise<Result>
  /** Runs a write of a client: as long as another process has the lock, at most `maxLockWaitMs`, it is tried again. */
  runPatiently<Result>(write: () => Promise<Result>): Promise<Result>
  /** Whether a writer may wait for the end of this outage. */
  isWorthWaiting(patienceMs: number): boolean
  close(): void
}

export interface WriteGateOptions {
  /** Null, or why the files on disk are not the open ones. */
  findFileFault?: () => string | null
  /** Called when the files are found missing or replaced. */
  onFileFault?: () => void
  /** Max time that a client's write waits for another process's lock, ms. Default 0. */
  maxLockWaitMs?: number
}

/** Interval at which the files are looked at. Claims also look before each try, so that nothing is sent in between. */
const FILE_CHECK_INTERVAL_MS = 50
const INITIAL_RETRY_MS = 25
/** With a `busy_timeout` of 5 ms the event loop stands still for at most 2.5 % of the time. */
const MAX_RETRY_MS = 200

export function createWriteGate(options: WriteGateOptions = {}): WriteGate {
  const { findFileFault = () => null, onFileFault = () => {}, maxLockWaitMs = 0 } = options
  const state: WriteGate['state'] = { outage: null }
  let retryMs = INITIAL_RETRY_MS

  function begin(fault: DatabaseFault, error: Error): void {
    const now = performance.now()
    const { outage } = state
    retryMs = outage === null ? INITIAL_RETRY_MS : Math.min(2 * retryMs, MAX_RETRY_MS)
    state.outage = { fault, error, since: outage?.since ?? now, retryAt: now + retryMs }
  }

  function checkFiles(): void {
    const sentence = findFileFault()
    if (sentence !== null) {
      if (state.outage?.fault !== 'replaced') {
        begin('replaced', new DatabaseUnavailable('replaced', sentence))
        onFileFault()
      }
    } else if (state.outage?.fault === 'replaced') state.outage = null
  }

  const gate: WriteGate = {
    state,
    assertOpen() {
      checkFiles()
      const { outage } = state
      if (outage !== null && (outage.fault === 'replaced' || performance.now() < outage.retryAt))
        throw outage.error
    },
    areFilesInPlace() {
      checkFiles()
      return state.outage?.fault !== 'replaced'
    },
    recordSuccess() {
      if (state.outage?.fault !== 'replaced') state.outage = null
    },
    recordFailure(error) {
      const fault = findDatabaseFault(error)
      if (fault === null) return false
      // Fail-fast errors of this gate are no new failure.
      if (!(error instanceof DatabaseUnavailable))
        begin(fault, new DatabaseUnavailable(fault, SENTENCES[fault], error))
      return true
    },
    async run(write) {
      gate.assertOpen()
      try {
        const result = await write()
        gate.recordSuccess()
        return result
      } catch (error) {
        gate.recordFailure(error)
        throw error
      }
    },
    async runPatiently(write) {
      for (;;)
        try {
          return await gate.run(write)
        } catch (error) {
          if (findDatabaseFault(error) !== 'locked' || !gate.isWorthWaiting(maxLockWaitMs)) throw error
          await delay(Math.max(0, (state.outage?.retryAt ?? 0) - performance.now()))
        }
    },
    isWorthWaiting: patienceMs =>
      state.outage !== null && performance.now() < state.outage.since + patienceMs,
    close: () => clearInterval(timer),
  }
  const timer = setInterval(checkFiles, FILE_CHECK_INTERVAL_MS).unref()
  return gate
}

const SENTENCES: Record<DatabaseFault, string> = {
  locked: 'another process has locked the database for writing',
  full: 'the disk is full: the database can not be written',
  replaced: 'the files of the database were deleted or replaced',
  unavailable: 'the database can not be written',
}
