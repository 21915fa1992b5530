/**
 * The leak guard: a test that leaves a server or a socket open fails.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { afterEach } from 'vitest'

const COUNTED_RESOURCES = ['TCPServerWrap', 'TCPSocketWrap']
/** A socket that was ended needs some event-loop turns to close. */
const CLOSE_TIMEOUT_MS = 2000

export const openHandles = (): string[] =>
  process.getActiveResourcesInfo().filter(kind => COUNTED_RESOURCES.includes(kind))

/** Resources that an earlier test of the file left fail only that test. */
let before = 0

afterEach(async () => {
  const deadline = Date.now() + CLOSE_TIMEOUT_MS
  while (openHandles().length > before && Date.now() < deadline) await delay(10)
  const left = openHandles()
  const leaked = left.length - before
  before = left.length
  if (leaked > 0) throw new Error(`the test left something open: ${left.slice(-leaked).join(', ')}`)
})
