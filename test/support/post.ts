/**
 * A request for the gateway on a connection of its own, by an app.
 */
import { once } from 'node:events'
import { type ClientRequest, type IncomingMessage, request } from 'node:http'

export interface Post {
  connection: ClientRequest
  /** Rejects if the connection ends before there is one. */
  response: Promise<IncomingMessage>
}

export function post(url: string, key: string, body: object, headers: object, signal: AbortSignal): Post {
  const connection = request(url, {
    method: 'POST',
    agent: false,
    signal,
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json', ...headers },
  })
  // Told by `response` too, or once that is there by its end.
  connection.on('error', () => {})
  connection.end(JSON.stringify(body))
  return { connection, response: once(connection, 'response').then(([response]) => response) }
}
