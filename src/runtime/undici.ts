/**
 * The parts of undici that the gateway uses. Its index also loads fetch, WebSocket, caches, proxies and mocks: 12 MB of
 * resident memory and two thirds of its loading time (measured with 8.12).
 * Danger: these are internal files, which another version may name differently.
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

/** `request` of the index, through this dispatcher. */
export function request(
  dispatcher: Dispatcher,
  url: string | URL,
  options: Omit<Dispatcher.RequestOptions, 'origin' | 'path'>,
): Promise<Dispatcher.ResponseData> {
  const { origin, pathname, search } = new URL(url)
  return send.call(dispatcher, { ...options, origin, path: `${pathname}${search}` })
}
