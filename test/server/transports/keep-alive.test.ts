import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { afterEach, expect, test } from 'vitest'
import { createHeartbeat, type Heartbeat } from '../../../src/server/transports/keep-alive.ts'
import { until } from '../../support/until.ts'

const INTERVAL = 100
const ends: (() => unknown)[] = []
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end()
})

/** Two ends of one connection; `here` is watched. */
async function pair(
  answers: boolean,
  ping = () => {},
  interval = INTERVAL,
): Promise<{ here: Socket; there: Socket; beat: Heartbeat }> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const there = connect((server.address() as { port: number }).port, '127.0.0.1')
  const [here] = (await once(server, 'connection')) as [Socket]
  here.resume()
  const beat = createHeartbeat(interval)
  beat.watch({ socket: here, answers, ping })
  ends.push(
    () => new Promise(resolve => server.close(resolve)),
    () => there.destroy(),
    () => here.destroy(),
    beat.close,
  )
  for (const socket of [here, there]) socket.on('error', () => {})
  return { here, there, beat }
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
  const interval = 600
  const { here, there } = await pair(true, () => {}, interval)
  const waiting = 64_000_000
  there.pause()
  here.write(Buffer.alloc(waiting))
  const end = Date.now() + 5 * interval
  while (Date.now() < end) {
    there.read()
    await pause(5)
  }
  expect(here.destroyed).toBe(false)
  expect(there.bytesRead).toBeLessThan(waiting)
})

test('a peer that is not asked to answer and has nothing waiting lives', async () => {
  let looks = 0
  const { here } = await pair(false, () => void looks++)
  await until(() => looks > 5)
  expect(here.destroyed).toBe(false)
})
