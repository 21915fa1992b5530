/**
 * From a request to its client's address.
 * Invariant: `X-Forwarded-For` is believed from trusted proxies alone, from the right to the first one that is not.
 */
import type { IncomingMessage } from 'node:http'
import { isIP } from 'node:net'
import proxyAddr from 'proxy-addr'

export interface Addresses {
  of(request: IncomingMessage): string
  isProxy(address: string): boolean
}

export function createAddresses(trusted: readonly string[]): Addresses {
  const trusts = proxyAddr.compile([...trusted])
  const isProxy = (address: string) => trusts(address, 0)

  return {
    isProxy,
    of(request) {
      const own = plain(request.socket.remoteAddress ?? '')
      if (!isProxy(own)) return own
      const said = plain(withoutPort(proxyAddr(request, trusts)))
      return isIP(said) > 0 ? said : own
    },
  }
}

/** An IPv4 address has many spellings on a socket of both families. */
const plain = (address: string): string =>
  address.replace(/^::ffff:(?=\d+\.\d+\.\d+\.\d+$)/i, '').replace(/%.*$/, '')

/** Some proxies name it too. */
const withoutPort = (address: string): string =>
  /^\[(.+)\](:\d+)?$/.exec(address)?.[1] ?? address.replace(/^([\d.]+):\d+$/, '$1')
