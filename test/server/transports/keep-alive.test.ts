import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { afterEach, expect, test } from 'vitest'
import { createKeepAlive, type KeepAlive } from '../../../src/server/transports/keep-alive.ts'
import { until } from '../../support/until.ts'

const INTERVAL_MS = 100
const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanUp of cleanups.splice(0).reverse()) await cleanUp()
})

/** Both ends of one connection. The keep-alive watches `here`. */
async function pair(
  respondsToPing: boolean,
  ping = () => {},
  intervalMs = INTERVAL_MS,
): Promise<{ here: Socket; there: Socket; keepAlive: KeepAlive }> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const there = connect((server.address() as { port: number }).port, '127.0.0.1')
  const [here] = (await once(server, 'connection')) as [Socket]
  here.resume()
  const target = { socket: here, respondsToPing, ping }
  const keepAlive = createKeepAlive(() => [target], intervalMs)
  cleanups.push(
    () => new Promise(resolve => server.close(resolve)),
    () => there.destroy(),
    () => here.destroy(),
    keepAlive.close,
  )
  for (const socket of [here, there]) socket.on('error', () => {})
  return { here, there, keepAlive }
}

test('a client that answers pings stays connected', async () => {
  let pings = 0
  const { here, there } = await pair(true, () => {
    pings++
    there.write('pong')
  })
  await until(() => pings > 8)
  expect(here.destroyed).toBe(false)
})

test('a client that does not answer a ping is disconnected after two intervals', async () => {
  let pings = 0
  const { here } = await pair(true, () => void pings++)
  await until(() => here.destroyed)
  expect(pings).toBe(1)
})

test('a client that reads none of its pending bytes is disconnected, whether it should answer pings or not', async () => {
  for (const respondsToPing of [true, false]) {
    const { here, there } = await pair(respondsToPing)
    there.pause()
    here.write(Buffer.alloc(16_000_000))
    await until(() => here.destroyed)
  }
})

test('a client that reads its pending bytes slowly stays connected', async () => {
  // A full kernel buffer accepts bytes again only by the megabyte, so a slow client needs a long interval.
  const intervalMs = 600
  const { here, there } = await pair(true, () => {}, intervalMs)
  const waiting = 64_000_000
  there.pause()
  here.write(Buffer.alloc(waiting))
  const end = Date.now() + 5 * intervalMs
  while (Date.now() < end) {
    there.read()
    await delay(5)
  }
  expect(here.destroyed).toBe(false)
  expect(there.bytesRead).toBeLessThan(waiting)
})

test('a client that need not answer pings and has no pending bytes stays connected', async () => {
  let checks = 0
  const { here } = await pair(false, () => void checks++)
  await until(() => checks > 5)
  expect(here.destroyed).toBe(false)
})
