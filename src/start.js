/**
 * What `npm start` runs: the gateway, read compiled, and without the garbage of loading it. `--compile`, which `npm ci` runs,
 * starts nothing: it compiles what a start reads. The one file in JavaScript: for a single one in TypeScript Node loads
 * what takes out its types, 17 MB.
 * Invariant: what it keeps lies in `node_modules`, which nobody can write who could not change the code itself. Where this
 * process can't either, each start compiles anew.
 */
import { enableCompileCache } from 'node:module'
import { join } from 'node:path'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

// Of graphql-js's own objects it is asked less often then whether they are.
process.env.NODE_ENV ??= 'production'
// What was compiled at one path is good at another: an image copies it.
process.env.NODE_COMPILE_CACHE_PORTABLE ??= '1'
enableCompileCache(join(import.meta.dirname, '../node_modules/.cache/rushes'))
const { main } = await import('./main.ts')

if (process.argv[2] === '--compile') await import('./simulator/simulator.ts')
else {
  // V8 has made room for what is thrown away while modules load, and an idle process would never give it back: 35 of 145 MB.
  // 50 ms, before anybody can ask anything.
  setFlagsFromString('--expose-gc')
  runInNewContext('gc')({ type: 'major', execution: 'sync', flavor: 'last-resort' })
  await main()
}
