/**
 * SQLite, as the suites of the store use it.
 */
import { join } from 'node:path'
import { openStore } from '../../../src/store/open-store.ts'
import type { Engine } from '../../support/engine.ts'
import { emptyFolder } from '../../support/process.ts'
import { openRewindable } from './rewindable-store.ts'

export const SQLITE: Engine = {
  open: notify => openStore('file::memory:', notify),
  async createDatabase() {
    const folder = await emptyFolder()
    return {
      url: `file:${join(folder.path, 'rushes.db')}`,
      [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
    }
  },
  openRewindable,
  followsProcessClock: true,
}
