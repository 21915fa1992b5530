/**
 * The client's IP address of a request.
 * Invariant: `X-Forwarded-For` is believed from trusted proxies only, from right to left, up to the first
 * untrusted address.
 */
import type { IncomingMessage } from 'node:http'
import { isIP } from 'node:net'
import proxyAddr from 'proxy-addr'

export interface ClientAddresses {
  resolve(request: IncomingMessage): string
  isTrustedProxy(address: string): boolean
  /** Whether the request came through a trusted proxy. */
  isForwarded(request: IncomingMessage): boolean
}

export function createClientAddresses(trustedProxies: readonly string[]): ClientAddresses {
  const isTrusted = proxyAddr.compile([...trustedProxies])
  const isTrustedProxy = (address: string) => isTrusted(address, 0)

  return {
    isTrustedProxy,
    isForwarded: ({ socket }) => isTrustedProxy(socket.remoteAddress ?? ''),
    resolve(request) {
      const socketAddress = normalize(request.socket.remoteAddress ?? '')
      if (!isTrustedProxy(socketAddress)) return socketAddress
      const forwardedAddress = normalize(withoutPort(proxyAddr(request, isTrusted)))
      return isIP(forwardedAddress) > 0 ? forwardedAddress : socketAddress
    },
  }
}

/** A dual-stack socket shows an IPv4 address as `::ffff:…`. An IPv6 address may name its zone. */
const normalize = (address: string): string =>
  address.replace(/^::ffff:(?=\d+\.\d+\.\d+\.\d+$)/i, '').replace(/%.*$/, '')

/** Some proxies append the port. */
const withoutPort = (address: string): string =>
  /^\[(.+)\](:\d+)?$/.exec(address)?.[1] ?? address.replace(/^([\d.]+):\d+$/, '$1')
