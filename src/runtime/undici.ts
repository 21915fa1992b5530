/**
 * What is used of undici. Its index loads a fetch, a WebSocket, caches, proxies and mocks besides: 12 MB resident and two
 * thirds of the time that loading it takes (measured, 8.12).
 * Danger: these are its own files, which another version may name otherwise.
 */
import { createRequire } from 'node:module'
import type { Dispatcher } from 'undici'

type Undici = typeof import('undici')

const require = createRequire(import.meta.url)

export const Agent: Undici['Agent'] = require('undici/lib/dispatcher/agent.js')
export const Client: Undici['Client'] = require('undici/lib/dispatcher/client.js')
export const buildConnector: Undici['buildConnector'] = require('undici/lib/core/connect.js')

const send: (this: Dispatcher, options: Dispatcher.RequestOptions) => Promise<Dispatcher.ResponseData> =
  require('undici/lib/api/api-request.js')

/** What the index makes of it: a request through this dispatcher. */
export function request(
  dispatcher: Dispatcher,
  url: string | URL,
  options: Omit<Dispatcher.RequestOptions, 'origin' | 'path'>,
): Promise<Dispatcher.ResponseData> {
  const { origin, pathname, search } = new URL(url)
  return send.call(dispatcher, { ...options, origin, path: `${pathname}${search}` })
}
