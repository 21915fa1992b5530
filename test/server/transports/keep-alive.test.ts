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

/** Two ends of one connection; `here` is watched. */
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
  const keepAlive = createKeepAlive(intervalMs)
  keepAlive.watch({ socket: here, respondsToPing, ping })
  cleanups.push(
    () => new Promise(resolve => server.close(resolve)),
    () => there.destroy(),
    () => here.destroy(),
    keepAlive.close,
  )
  for (const socket of [here, there]) socket.on('error', () => {})
  return { here, there, keepAlive }
}

test('a peer that answers pings lives', async () => {
  let pings = 0
  const { here, there } = await pair(true, () => {
    pings++
    there.write('pong')
  })
  await until(() => pings > 8)
  expect(here.destroyed).toBe(false)
})

test('a peer that owes an answer and gives none is ended after two intervals', async () => {
  let pings = 0
  const { here } = await pair(true, () => void pings++)
  await until(() => here.destroyed)
  expect(pings).toBe(1)
})

test('a peer that takes nothing of what waits for it is ended, whether it answers pings or not', async () => {
  for (const answers of [true, false]) {
    const { here, there } = await pair(answers)
    there.pause()
    here.write(Buffer.alloc(16_000_000))
    await until(() => here.destroyed)
  }
})

test('a peer that takes what waits for it, slowly, lives', async () => {
  // A kernel that had no room says so again only for some megabytes: what is slow must be so over an interval.
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

test('a peer that is not asked to answer and has nothing waiting lives', async () => {
  let checks = 0
  const { here } = await pair(false, () => void checks++)
  await until(() => checks > 5)
  expect(here.destroyed).toBe(false)
})
