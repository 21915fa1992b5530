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

/** Who counts as one: an IPv4 address, or the /64 that an IPv6 subscriber has to itself. */
export function networkOf(address: string): string {
  if (!address.includes(':')) return address
  const [front = '', back] = address.split('::')
  const groups = front === '' ? [] : front.split(':')
  const last = back ? back.split(':') : []
  if (back !== undefined) while (groups.length + last.length < 8) groups.push('0')
  return [...groups, ...last]
    .slice(0, 4)
    .map(group => Number.parseInt(group, 16).toString(16))
    .join(':')
}

/** An IPv4 address has many spellings on a socket of both families. */
const plain = (address: string): string =>
  address.replace(/^::ffff:(?=\d+\.\d+\.\d+\.\d+$)/i, '').replace(/%.*$/, '')

/** Some proxies name it too. */
const withoutPort = (address: string): string =>
  /^\[(.+)\](:\d+)?$/.exec(address)?.[1] ?? address.replace(/^([\d.]+):\d+$/, '$1')
