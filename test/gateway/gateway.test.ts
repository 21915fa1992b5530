import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { loadConfig } from '../../src/config/config.ts'
import { StartupError } from '../../src/domain/errors.ts'
import { createGateway } from '../../src/gateway/gateway.ts'
import type { GatewayOverrides } from '../../src/gateway/options.ts'
import { emptyFolder } from '../support/process.ts'

const LOG = { debug() {}, info() {}, warn() {}, error() {} }

async function occupyPort() {
  const server = createServer()
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return { port, [Symbol.asyncDispose]: () => new Promise<void>(resolve => server.close(() => resolve())) }
}

/** The leak guard finds what a failed start has left open; the lock of the database file ends with its store. */
test.each([
  ["the gateway's port is in use", (port: number) => ({ port }), 1],
  ["the simulator's port is in use", (port: number) => ({ simulator: { port } }), 0],
])(
  'if %s, the start closes what it has built, and the next start succeeds',
  async (_, failure, closedFetches) => {
    await using folder = await emptyFolder()
    await using occupied = await occupyPort()
    let closeCount = 0
    const start = ({ port = 0, ...overrides }: GatewayOverrides & { port?: number } = {}) =>
      createGateway(
        loadConfig({ PORT: String(port), DATABASE_URL: `file:${join(folder.path, 'rushes.db')}` }),
        LOG,
        {
          imageFetch: {
            checkImage: async () => ({ kind: 'no image' }),
            close: async () => void closeCount++,
          },
          ...overrides,
        },
      )
    await expect(start(failure(occupied.port))).rejects.toThrow(StartupError)
    expect(closeCount).toBe(closedFetches)
    const gateway = await start()
    await gateway.close()
    expect(closeCount).toBe(closedFetches + 1)
  },
)
