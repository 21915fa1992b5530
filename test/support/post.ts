/**
 * A request of an app to the gateway, on its own connection.
 */
import { once } from 'node:events'
import { type ClientRequest, type IncomingMessage, request } from 'node:http'

export interface Post {
  connection: ClientRequest
  /** Rejects if the connection ends before there is a response. */
  response: Promise<IncomingMessage>
}

export function post(url: string, key: string, body: object, headers: object, signal: AbortSignal): Post {
  const connection = request(url, {
    method: 'POST',
    agent: false,
    signal,
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json', ...headers },
  })
  // `response` rejects too.
  connection.on('error', () => {})
  connection.end(JSON.stringify(body))
  return { connection, response: once(connection, 'response').then(([response]) => response) }
}
