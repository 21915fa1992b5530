/**
 * The addresses of a name, asked of the name servers directly.
 * Danger: `dns.lookup` waits in one of four threads that all connections of the process share (libuv lets slow names have
 * two), and goes on when nobody waits any more: eight image hosts with a silent name server stop every submit. This one
 * takes no thread. It reads no hosts file, so what is meant for one machine alone is not found.
 */
import { type LookupAddress, promises } from 'node:dns'
import type { LookupFunction } from 'node:net'

const TIMEOUT_MS = 1500
const TRIES = 2

/** @param servers others than the machine's own, as `address:port` */
export const createLookup =
  (servers?: readonly string[]): LookupFunction =>
  (hostname, _options, callback) => {
    const resolver = new promises.Resolver({ timeout: TIMEOUT_MS, tries: TRIES })
    if (servers) resolver.setServers(servers)
    Promise.allSettled([resolver.resolve4(hostname), resolver.resolve6(hostname)]).then(([ipv4, ipv6]) => {
      const addresses = [...addressesOf(ipv4, 4), ...addressesOf(ipv6, 6)]
      callback(ipv4.status === 'rejected' && addresses.length === 0 ? ipv4.reason : null, addresses)
    })
  }

const addressesOf = (result: PromiseSettledResult<string[]>, family: 4 | 6): LookupAddress[] =>
  result.status === 'fulfilled' ? result.value.map(address => ({ address, family })) : []
