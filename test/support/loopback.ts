/**
 * A test's own server, on a free port of loopback. `await using` closes it with every connection.
 */
import { once } from 'node:events'
import type { Server } from 'node:http'
import type { AddressInfo, Socket, Server as TcpServer } from 'node:net'

export async function listen(server: Server | TcpServer) {
  const sockets = new Set<Socket>()
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const { port } = server.address() as AddressInfo
  return {
    port,
    origin: `http://127.0.0.1:${port}`,
    async [Symbol.asyncDispose]() {
      const closed = once(server, 'close')
      server.close()
      if ('closeAllConnections' in server) server.closeAllConnections()
      for (const socket of sockets) socket.destroy()
      await closed
    },
  }
}
