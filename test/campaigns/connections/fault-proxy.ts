/**
 * A fault-injecting TCP proxy. Clients keep one port while the gateway restarts behind it. Connections can be reset,
 * truncated, paused and half-closed.
 * Invariant: a connection forwards the bytes of each side unchanged and in order until it ends.
 */
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

/** `up`: to the gateway; `down`: from it. */
export type Direction = 'up' | 'down'

export interface ProxiedConnection {
  /** Bytes received from the gateway. */
  readonly bytesDown: number
  /** Resets both sides. Bytes in transit are lost. */
  reset(): void
  /** Forwards that many more bytes, then ends both sides. */
  truncateAfter(direction: Direction, bytes: number): void
  /** Stops reading from the gateway, so the buffers between fill. */
  pause(): void
  resume(): void
  /** Destroys one side without informing the other, until `reset`. */
  dropSide(side: Direction): void
}

export interface FaultProxy extends AsyncDisposable {
  /** The proxy's `http://…`, without a path. */
  readonly url: string
  /** Open connections. */
  readonly connections: ReadonlySet<ProxiedConnection>
  /** Chunks that were cut in two. */
  readonly truncatedChunks: number
  /** Sets the gateway's port. Null resets every new connection. */
  setTarget(port: number | null): void
  /** Called for each connection before any byte is forwarded. */
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
        // Bytes that were read before `destroy` may still be emitted.
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
      // The close event follows.
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
