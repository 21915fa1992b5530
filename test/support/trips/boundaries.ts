/**
 * Patches Node, ws and better-sqlite3, so that the recorder sees where trips start, continue and end.
 */
import { IncomingMessage, Server } from 'node:http'
import { Socket } from 'node:net'
import Database from 'better-sqlite3'
import { WebSocket } from 'ws'
import { continueTrip, endTrip, startEventTrip, startTrip } from './recorder.ts'

/** Runs `around` in place of a method. `proceed` calls the method with its arguments. */
function patch<Target extends object>(
  target: Target,
  method: keyof Target,
  around: (proceed: () => unknown, self: Target, args: readonly unknown[]) => unknown,
): void {
  const original = target[method] as (...args: unknown[]) => unknown
  const patched = function (this: Target, ...args: unknown[]) {
    return around(() => original.apply(this, args), this, args)
  }
  Object.assign(target, { [method]: patched })
}

export function patchBoundaries(): void {
  patch(Server.prototype, 'emit', (proceed, _, [event, subject, upgradedSocket]) => {
    if (event === 'connection')
      return startTrip('connection', (subject as Socket).localPort ?? 0, subject as Socket, proceed)
    if (event === 'upgrade') return continueTrip(upgradedSocket as Socket, proceed)
    if (event !== 'request') return proceed()
    const request = subject as IncomingMessage
    return startTrip('request', request.socket.localPort ?? 0, request, proceed)
  })
  patch(IncomingMessage.prototype, 'push', (proceed, request) => continueTrip(request, proceed))
  patch(IncomingMessage.prototype, 'emit', (proceed, request) => continueTrip(request, proceed))
  patch(Socket.prototype, 'emit', (proceed, socket) => continueTrip(socket, proceed))
  patch(WebSocket.prototype as WebSocket & { _socket?: Socket }, 'emit', (proceed, { _socket }) =>
    continueTrip(_socket, proceed),
  )
  patch(Socket.prototype, 'write', (proceed, _, [bytes]) => {
    endTrip(bytes as string | Uint8Array)
    return proceed()
  })

  const database = new Database(':memory:')
  const statement = Object.getPrototypeOf(database.prepare('select 1')) as Database.Statement
  database.close()
  patch(statement, 'run', (proceed, { source }) => {
    const result = proceed()
    if (source === 'COMMIT') startEventTrip()
    return result
  })
}
