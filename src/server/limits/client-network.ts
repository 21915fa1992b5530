/**
 * The network of an IP address: addresses of one network share their limits. Pure.
 */

/** The unit of all limits by address: an IPv4 address, or the /64 that an IPv6 subscriber has to itself. */
export function toNetwork(address: string): string {
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
