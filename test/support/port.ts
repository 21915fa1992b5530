/**
 * A port for a server that restarts on it. A port that the system assigns (from 32768 on) might be another test's by
 * then.
 */
import { createServer } from 'node:net'
import type { SeededRandom } from '../../src/simulator/seeded-random.ts'

export async function freePort(random: SeededRandom): Promise<number> {
  for (;;) {
    const port = random.between(20_000, 32_000)
    if (await isFree(port)) return port
  }
}

const isFree = (port: number): Promise<boolean> =>
  new Promise(resolve => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
  })
