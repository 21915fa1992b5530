/**
 * The leak guard: a test that leaves a server or a socket alive fails.
 */
import { setTimeout as pause } from 'node:timers/promises'
import { afterEach } from 'vitest'

const COUNTED = ['TCPServerWrap', 'TCPSocketWrap']
/** A socket that was ended needs some turns of the loop to be gone. */
const PATIENCE_MS = 2000

export const alive = (): string[] => process.getActiveResourcesInfo().filter(kind => COUNTED.includes(kind))

/** What an earlier test of the file left is that test's failure alone. */
let before = 0

afterEach(async () => {
  const deadline = Date.now() + PATIENCE_MS
  while (alive().length > before && Date.now() < deadline) await pause(10)
  const left = alive()
  const more = left.length - before
  before = left.length
  if (more > 0) throw new Error(`the test left something alive: ${left.slice(-more).join(', ')}`)
})
