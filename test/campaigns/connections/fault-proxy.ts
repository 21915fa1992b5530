/**
 * The network between everybody and the gateway: a port that stays, whatever becomes of the gateway behind it, and links
 * that can be cut, torn in the midst of a frame, stalled and halved.
 * Invariant: a link passes each side's bytes on unchanged and in order, until it ends.
 */
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

/** To the gateway, or down from it. */
export type Direction = 'up' | 'down'

export interface ProxiedConnection {
  /** Bytes that came down. */
  readonly bytesDown: number
  /** Both sides are reset; what was on its way is lost. */
  reset(): void
  /** Lets that many more bytes through, then ends both sides right there. */
  truncateAfter(direction: Direction, bytes: number): void
  /** Nothing more is read from the gateway: what it writes fills the buffers on the way. */
  pause(): void
  resume(): void
  /** The side that way is gone and the other is not told, until `cut`. */
  dropSide(side: Direction): void
}

export interface FaultProxy extends AsyncDisposable {
  /** `http://…`, without a path. */
  readonly url: string
  /** Those that are open. */
  readonly connections: ReadonlySet<ProxiedConnection>
  /** Chunks that were cut in two. */
  readonly truncatedChunks: number
  /** Where the gateway is now; null: whoever connects is reset. */
  setTarget(port: number | null): void
  /** Called with every link before a byte passes. */
  onConnection: (connection: ProxiedConnection) => void
}

const HOST = '127.0.0.1'

export async function createFaultProxy(): Promise<FaultProxy> {
  const connections = new Set<ProxiedConnection>()
  let target: number | null = null
  let truncatedChunks = 0

  function connectSides(client: Socket, gateway: Socket): ProxiedConnection {
    const bytesLeft = { up: Number.POSITIVE_INFINITY, down: Number.POSITIVE_INFINITY }
    let isHalfOpen = false
    let bytesDown = 0

    function forward(direction: Direction, from: Socket, to: Socket): void {
      from.on('data', chunk => {
        // What it had read before it was destroyed still comes.
        if (from.destroyed) return
        const isComplete = chunk.length <= bytesLeft[direction]
        to.write(isComplete ? chunk : chunk.subarray(0, bytesLeft[direction]))
        if (!isComplete && bytesLeft[direction] > 0) truncatedChunks++
        bytesLeft[direction] -= Math.min(bytesLeft[direction], chunk.length)
        if (direction === 'down') bytesDown += chunk.length
        if (isComplete) return
        to.destroySoon()
        from.destroy()
      })
      // Its close follows.
      from.on('error', () => {})
      from.on('close', () => {
        if (!isHalfOpen) to.destroySoon()
        if (client.destroyed && gateway.destroyed) connections.delete(connection)
      })
    }

    const connection: ProxiedConnection = {
      get bytesDown() {
        return bytesDown
      },
      reset() {
        client.destroy()
        gateway.destroy()
      },
      truncateAfter(direction, bytes) {
        bytesLeft[direction] = bytes
      },
      pause: () => void gateway.pause(),
      resume: () => void gateway.resume(),
      dropSide(side) {
        isHalfOpen = true
        const [dropped, remaining] = side === 'up' ? [gateway, client] : [client, gateway]
        dropped.destroy()
        remaining.pause()
      },
    }
    forward('up', client, gateway)
    forward('down', gateway, client)
    connections.add(connection)
    return connection
  }

  const server = createServer(client => {
    if (target === null) client.destroy()
    else proxy.onConnection(connectSides(client, connect(target, HOST)))
  })
  await once(server.listen(0, HOST), 'listening')

  const proxy: FaultProxy = {
    url: `http://${HOST}:${(server.address() as AddressInfo).port}`,
    connections,
    get truncatedChunks() {
      return truncatedChunks
    },
    setTarget(port) {
      target = port
    },
    onConnection: () => {},
    async [Symbol.asyncDispose]() {
      const closed = once(server, 'close')
      server.close()
      for (const connection of connections) connection.reset()
      await closed
    },
  }
  return proxy
}
