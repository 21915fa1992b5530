/**
 * Which IP addresses are public. Pure.
 * Invariant: an address that is not known to be public is not public. Of IPv6 only global unicast counts,
 * which excludes all embedded forms of IPv4 but 6to4 and Teredo; those are listed below.
 */
import { BlockList, isIP } from 'node:net'

/** IANA's special-purpose ranges, and one address that Azure uses. */
const SPECIAL_PURPOSE_SUBNETS = [
  '0.0.0.0/8', // this host
  '10.0.0.0/8', // private
  '100.64.0.0/10', // carrier's NAT; a cloud's metadata
  '127.0.0.0/8', // loopback
  '168.63.129.16/32', // Azure's host, to the machines on it
  '169.254.0.0/16', // link-local; every other cloud's metadata
  '172.16.0.0/12', // private
  '192.0.0.0/24', // protocol assignments
  '192.0.2.0/24', // documentation
  '192.88.99.0/24', // 6to4 relays
  '192.168.0.0/16', // private
  '198.18.0.0/15', // benchmarks
  '198.51.100.0/24', // documentation
  '203.0.113.0/24', // documentation
  '224.0.0.0/4', // multicast
  '240.0.0.0/4', // reserved; broadcast
  '2001::/23', // protocol assignments; Teredo
  '2001:db8::/32', // documentation
  '2002::/16', // 6to4
  '3fff::/20', // documentation
]

const specialPurpose = createBlockList(SPECIAL_PURPOSE_SUBNETS)
const globalUnicast = createBlockList(['2000::/3'])

export function isPublicAddress(address: string): boolean {
  switch (isIP(address)) {
    case 4:
      return !specialPurpose.check(address, 'ipv4')
    case 6:
      return globalUnicast.check(address, 'ipv6') && !specialPurpose.check(address, 'ipv6')
    default:
      return false
  }
}

function createBlockList(subnets: string[]): BlockList {
  const list = new BlockList()
  for (const subnet of subnets) {
    const [network, prefix] = subnet.split('/') as [string, string]
    list.addSubnet(network, Number(prefix), isIP(network) === 6 ? 'ipv6' : 'ipv4')
  }
  return list
}
