/**
 * Resolves names by asking the name servers directly.
 * Danger: `dns.lookup` blocks one of four libuv threads that all connections share (libuv gives slow names
 * two), and goes on after the caller has given up: eight image hosts with a silent name server stop every
 * submit. This one takes no thread. It reads no hosts file, so a name meant for one machine only is not
 * found.
 */
import { type LookupAddress, promises } from 'node:dns'
import type { LookupFunction } from 'node:net'

const TIMEOUT_MS = 1500
const TRIES = 2

/** @param servers instead of the machine's own, as `address:port` */
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
