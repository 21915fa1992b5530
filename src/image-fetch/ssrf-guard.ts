/**
 * A connector that goes to allowed addresses alone.
 * Invariant: the address that is checked is the one connected to. A name is resolved once, here, and what is refused of
 * its addresses is not tried; so a name that resolves otherwise the next time gains nothing.
 * Danger: `blockList`, which `net.connect` has for this, is ignored by `tls.connect` without a word (Node 24.21).
 */
import type { LookupAddress } from 'node:dns'
import { isIP, type LookupFunction } from 'node:net'
import type { buildConnector as BuildConnector } from 'undici'
import { buildConnector } from '../runtime/undici.ts'

/** `signal` ends its connections, and those that do not stand yet. */
export function createGuardedConnector(
  isAllowed: (address: string) => boolean,
  lookup: LookupFunction,
  signal: AbortSignal,
): BuildConnector.connector {
  const connect = buildConnector({
    signal,
    allowH2: false,
    // A name is asked for all its addresses at once.
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
    // An address in the URL is connected to without a lookup.
    if (isIP(options.hostname) !== 0 && !isAllowed(options.hostname)) callback(notPublicError(), null)
    else connect(options, callback)
  }
}

const notPublicError = () =>
  Object.assign(new Error('The address is not public.'), { code: 'ADDRESS_NOT_PUBLIC' })
