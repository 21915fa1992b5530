/**
 * Entry point of `npm start`: loads the gateway from a compile cache and frees the memory that loading used.
 * `node src/start.js --compile`, which `npm ci` runs, starts nothing and only fills the cache.
 * It is JavaScript because an entry point in TypeScript makes Node load its type stripper: 17 MB.
 * Invariant: the cache is in `node_modules`, so a user who can write it can change the code anyway. If this process cannot
 * write it, each start compiles again.
 */
import { enableCompileCache } from 'node:module'
import { join } from 'node:path'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

// Production mode: graphql-js skips some checks of its own objects.
process.env.NODE_ENV ??= 'production'
// Makes the cache valid at another path, for example in a container image that copies it.
process.env.NODE_COMPILE_CACHE_PORTABLE ??= '1'
enableCompileCache(join(import.meta.dirname, '../node_modules/.cache/rushes'))
const { main, preload } = await import('./main.ts')
await preload()

if (process.argv[2] === '--compile') await import('./simulator/simulator.ts')
else {
  // While modules load, V8's heap grows, and an idle process would never shrink it: 35 of 145 MB (measured).
  // The collection takes 50 ms, before the gateway listens.
  setFlagsFromString('--expose-gc')
  runInNewContext('gc')({ type: 'major', execution: 'sync', flavor: 'last-resort' })
  await main()
}
