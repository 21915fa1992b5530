import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { isPublicAddress } from '../../src/image-fetch/public-address.ts'

/** The first and the last address of each range. */
const REFUSED: [title: string, ...addresses: string[]][] = [
  ['this host', '0.0.0.0', '0.255.255.255'],
  ['private', '10.0.0.0', '10.255.255.255', '172.16.0.0', '172.31.255.255', '192.168.0.0', '192.168.255.255'],
  ["a carrier's", '100.64.0.0', '100.127.255.255'],
  ['loopback', '127.0.0.0', '127.0.0.1', '127.255.255.255', '::1'],
  ['link-local', '169.254.0.0', '169.254.255.255', 'fe80::', 'febf:ffff::1', 'fe80::1%lo'],
  ["a cloud's metadata", '169.254.169.254', 'fd00:ec2::254', '100.100.100.200', '168.63.129.16'],
  ['protocol assignments', '192.0.0.0', '192.0.0.255', '2001::', '2001:1ff:ffff::1'],
  ['documentation', '192.0.2.0', '192.0.2.255', '198.51.100.0', '198.51.100.255', '203.0.113.0'],
  ['documentation, too', '203.0.113.255', '2001:db8::', '2001:db8:ffff::1', '3fff::', '3fff:fff::1'],
  ['relays', '192.88.99.0', '192.88.99.255'],
  ['benchmarks', '198.18.0.0', '198.19.255.255', '2001:2::1'],
  ['multicast', '224.0.0.0', '239.255.255.255', 'ff00::', 'ff02::1', 'ffff:ffff::1'],
  ['reserved', '240.0.0.0', '255.255.255.254', '4000::1', '5f00::1', '8000::1', 'e000::1', '1fff:ffff::1'],
  ['broadcast', '255.255.255.255'],
  ['unspecified', '::'],
  ['unique local', 'fc00::', 'fdff:ffff:ffff::1'],
  ['site-local', 'fec0::', 'feff:ffff::1'],
  ['discarded', '100::', '100::ffff:ffff:ffff:ffff'],
]

test.each(REFUSED)('%s is not public', (_, ...addresses) => {
  expect(addresses.filter(isPublicAddress)).toEqual([])
})

test.each([
  ['mapped', (v4: string) => `::ffff:${v4}`],
  ['mapped, written out', (v4: string) => `0:0:0:0:0:ffff:${v4}`],
  ['mapped, in hexadecimal', (v4: string) => `::ffff:${hex(v4)}`],
  ['compatible', (v4: string) => `::${v4}`],
  ['translated', (v4: string) => `::ffff:0:${v4}`],
  ['NAT64', (v4: string) => `64:ff9b::${v4}`],
  ['local NAT64', (v4: string) => `64:ff9b:1::${v4}`],
  ['6to4', (v4: string) => `2002:${hex(v4)}::1`],
  ['Teredo', (v4: string) => `2001:0:${hex(v4)}::1`],
])('an IPv4 address in an IPv6 one is not public: %s', (_, embed) => {
  for (const v4 of ['127.0.0.1', '10.0.0.1', '169.254.169.254', '8.8.8.8'])
    expect(isPublicAddress(embed(v4)), embed(v4)).toBe(false)
})

test('neighbours of the special-purpose ranges are public', () => {
  const addresses = [
    ...['1.0.0.0', '9.255.255.255', '11.0.0.0', '100.63.255.255', '100.128.0.0', '126.255.255.255'],
    ...['128.0.0.0', '168.63.129.15', '168.63.129.17', '169.253.255.255', '169.255.0.0', '172.15.255.255'],
    ...['172.32.0.0', '191.255.255.255', '192.0.1.0', '192.0.3.0', '192.88.98.255', '192.88.100.0'],
    ...['192.167.255.255', '192.169.0.0', '198.17.255.255', '198.20.0.0', '198.51.99.255', '198.51.101.0'],
    ...['203.0.112.255', '203.0.114.0', '223.255.255.255', '8.8.8.8'],
    ...[
      '2000::1',
      '2001:200::1',
      '2001:db7:ffff::1',
      '2001:db9::1',
      '2001:ffff::1',
      '2003::1',
      '2606:4700::1',
    ],
    ...['3ffe:ffff::1', '3fff:1000::1', '3fff:ffff::1'],
  ]
  expect(addresses.filter(address => !isPublicAddress(address))).toEqual([])
})

describe('any text is either public or not', () => {
  test('a text that is not an address is not public', () => {
    const others = [
      '',
      'localhost',
      'example.com',
      '127.1',
      '0x7f.0.0.1',
      '2130706433',
      '8.8.8.8 ',
      '[::1]',
      '8.8.8',
    ]
    for (const text of others) expect(isPublicAddress(text), text).toBe(false)
    fc.assert(fc.property(fc.string(), text => typeof isPublicAddress(text) === 'boolean'))
  })

  test('an IPv6 address can be public only if it begins with the bits 001', () => {
    fc.assert(
      fc.property(fc.ipV6(), address => !isPublicAddress(address) || /^[23][\da-f]{3}:/i.test(address)),
      { numRuns: 2000 },
    )
  })
})

function hex(v4: string): string {
  const [a, b, c, d] = v4.split('.').map(Number) as [number, number, number, number]
  return `${(a * 256 + b).toString(16)}:${(c * 256 + d).toString(16)}`
}
