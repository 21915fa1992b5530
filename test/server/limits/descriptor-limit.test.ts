import { execFileSync } from 'node:child_process'
import { expect, test } from 'vitest'
import { capConnections, readDescriptorLimit } from '../../../src/server/limits/descriptor-limit.ts'

test.each([
  ['of 20,000 descriptors 256 are reserved', 20_000, null, 19_744],
  ['one more is reserved for each concurrent job', 20_000, 3, 19_741],
  ['half of a small limit is reserved', 256, 3, 128],
  ['a large account cannot take all', 1024, 1_000_000, 512],
  ['a high limit leaves the setting as it is', 1_048_576, 3, 20_000],
  ['without a limit the setting is as it is', null, 3, 20_000],
])('%s', (_, descriptorLimit, upstreamConcurrency, connections) => {
  expect(capConnections(20_000, descriptorLimit, upstreamConcurrency)).toBe(connections)
})

test('the limit is that of the process: the hard one, to which Node raises the soft one', () => {
  const hardLimit = execFileSync('sh', ['-c', 'ulimit -Hn'], { encoding: 'utf8' }).trim()
  expect(readDescriptorLimit()).toBe(hardLimit === 'unlimited' ? null : Number(hardLimit))
})
