/**
 * A process that submits one job and prints the outcome. Its argument is JSON.
 */
import { openSync } from 'node:fs'
import { createClocks } from '../../src/runtime/clocks.ts'
import { createUpstream } from '../../src/upstream/client.ts'
import { INPUT } from '../support/input.ts'

const { descriptors, ...options } = JSON.parse(process.argv[2]!)
const upstream = createUpstream({ ...options, clocks: createClocks() })
// Loads what a first connection loads.
await upstream.probe(AbortSignal.abort())
if (descriptors === 'full') useAllDescriptors()
const outcome = await upstream.submit('a/model', INPUT, new AbortController().signal)
console.log(JSON.stringify(outcome))
process.exit()

function useAllDescriptors(): void {
  try {
    for (;;) openSync('/dev/null', 'r')
  } catch {
    // None is left.
  }
}
