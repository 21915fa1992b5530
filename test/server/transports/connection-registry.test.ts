import { Socket } from 'node:net'
import { afterEach, expect, test } from 'vitest'
import type { Caller } from '../../../src/auth/authenticate.ts'
import type { AppId } from '../../../src/domain/prediction.ts'
import {
  type ClientConnection,
  createConnectionRegistry,
} from '../../../src/server/transports/connection-registry.ts'
import { fullAccess } from '../../support/store.ts'

const callerOf = (app: string): Caller => ({ ...fullAccess(app as AppId), credentialHash: app })

const connectionOf = (caller: Caller, end: ClientConnection['end'] = () => {}): ClientConnection => ({
  caller,
  end,
  socket: new Socket(),
  respondsToPing: false,
  ping() {},
})

const registry = createConnectionRegistry({
  authenticate: { isStillValid: async () => true, authenticate: async () => null },
  log: { error() {} },
  maxConnectionsPerApp: 50,
  countRejection() {},
})
afterEach(() => {
  for (const connection of [...registry.connections()]) registry.remove(connection)
  registry.close()
})

test('a connection is in the list from its admission until it is removed', () => {
  const [first, second] = [connectionOf(callerOf('a')), connectionOf(callerOf('b'))]
  expect([registry.admit(first), registry.admit(second)]).toEqual([null, null])
  expect([...registry.connections()]).toEqual([first, second])
  const seen = []
  for (const connection of registry.connections()) {
    seen.push(connection)
    registry.remove(second)
  }
  expect(seen).toEqual([first])
})

test('a drain ends connections one by one, ten milliseconds apart, and admits no other', async () => {
  const ends: number[] = []
  const startedAt = performance.now()
  const caller = callerOf('a')
  for (let i = 0; i < 20; i++)
    registry.admit(connectionOf(caller, () => void ends.push(performance.now() - startedAt)))
  await registry.drain(4000)
  expect(ends).toHaveLength(20)
  // A timer may fire a little early, and under load late.
  for (const [i, end] of ends.entries()) expect(end).toBeGreaterThan(i * 10 - 2)
  expect(registry.admit(connectionOf(caller))).toBe('stopping')
})
