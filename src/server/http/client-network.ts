/**
 * The network from which a request comes: the unit of all limits by address.
 * Invariant: `X-Forwarded-For` is believed from trusted proxies only, from right to left, up to the first
 * untrusted address.
 */
import type { IncomingMessage } from 'node:http'
import { isIP } from 'node:net'
import proxyAddr from 'proxy-addr'

/** The client of a request, as its address and the trusted proxies tell. It is computed once for each request. */
export interface ClientOrigin {
  /** An IPv4 address, or the /64 that an IPv6 subscriber has to itself. */
  readonly network: string
  /** Whether the request came through a trusted proxy. */
  readonly isForwarded: boolean
}

export interface ClientNetworks {
  /** The client of a request. */
  resolve(request: Pick<IncomingMessage, 'socket' | 'headers'>): ClientOrigin
  /** The network of a socket; null if a trusted proxy has opened it. */
  ofSocket(socket: { remoteAddress?: string | undefined }): string | null
}

export function createClientNetworks(trustedProxies: readonly string[]): ClientNetworks {
  const isTrusted = proxyAddr.compile([...trustedProxies])
  const isTrustedProxy = (address: string) => isTrusted(address, 0)

  return {
    resolve(request) {
      const socketAddress = normalize(request.socket.remoteAddress ?? '')
      if (!isTrustedProxy(socketAddress)) return { network: toNetwork(socketAddress), isForwarded: false }
      const forwardedAddress = normalize(withoutPort(proxyAddr(request as IncomingMessage, isTrusted)))
      const address = isIP(forwardedAddress) > 0 ? forwardedAddress : socketAddress
      return { network: toNetwork(address), isForwarded: true }
    },
    ofSocket: ({ remoteAddress = '' }) =>
      isTrustedProxy(remoteAddress) ? null : toNetwork(normalize(remoteAddress)),
  }
}

/** A dual-stack socket shows an IPv4 address as `::ffff:…`. An IPv6 address may name its zone. */
const normalize = (address: string): string =>
  address.replace(/^::ffff:(?=\d+\.\d+\.\d+\.\d+$)/i, '').replace(/%.*$/, '')

/** Some proxies append the port. */
const withoutPort = (address: string): string =>
  /^\[(.+)\](:\d+)?$/.exec(address)?.[1] ?? address.replace(/^([\d.]+):\d+$/, '$1')

function toNetwork(address: string): string {
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
