/**
 * A connector that connects to allowed addresses only.
 * Invariant: the address that is checked is the address connected to. A name is resolved once, here, and its
 * disallowed addresses are not tried; so a name that resolves differently next time (DNS rebinding) gains
 * nothing.
 * Danger: `blockList`, which `net.connect` has for this, is silently ignored by `tls.connect` (Node 24.21).
 */
import type { LookupAddress } from 'node:dns'
import { isIP, type LookupFunction, type Socket } from 'node:net'
import type { buildConnector as BuildConnector } from 'undici'
import { buildConnector } from '../runtime/undici.ts'

/**
 * @param signal closes its connections, also those not yet established
 * @param onConnection receives each connection before it is used
 */
export function createGuardedConnector(
  isAllowed: (address: string) => boolean,
  lookup: LookupFunction,
  signal: AbortSignal,
  onConnection: (socket: Socket) => void,
): BuildConnector.connector {
  const connect = buildConnector({
    signal,
    allowH2: false,
    // All addresses of a name are requested at once.
    autoSelectFamily: true,
    lookup(hostname, options, callback) {
      lookup(hostname, { ...options, all: true }, (error, addresses) => {
        const allowed = error
          ? []
          : (addresses as LookupAddress[]).filter(({ address }) => isAllowed(address))
        callback(error ?? (allowed.length === 0 ? notPublicError() : null), allowed)
      })
    },
  })
  return (options, callback) => {
    // An IP address in the URL is connected to without a lookup.
    if (isIP(options.hostname) !== 0 && !isAllowed(options.hostname)) callback(notPublicError(), null)
    else
      connect(options, (...result) => {
        const [, socket] = result
        // A connection that failed is undefined here, against the type (undici 8.12).
        if (socket) onConnection(socket)
        callback(...result)
      })
  }
}

const notPublicError = () =>
  Object.assign(new Error('The address is not public.'), { code: 'ADDRESS_NOT_PUBLIC' })
