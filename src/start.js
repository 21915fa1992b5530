/**
 * What `npm start` runs: the gateway, read compiled from the second start on, and without the garbage of loading it. The
 * one file in JavaScript: for a single one in TypeScript Node loads what takes out its types, 17 MB.
 * Invariant: what it keeps lies in `node_modules`, which nobody can write who could not change the code itself. Where this
 * process can't either, each start is a first one.
 */
import { enableCompileCache } from 'node:module'
import { join } from 'node:path'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

enableCompileCache(join(import.meta.dirname, '../node_modules/.cache/rushes'))
await import('./gateway.ts')
// V8 has made room for what is thrown away while modules load, and an idle process would never give it back: 35 of 145 MB.
// 50 ms, before anybody can ask anything.
setFlagsFromString('--expose-gc')
runInNewContext('gc')({ type: 'major', execution: 'sync', flavor: 'last-resort' })
await import('./main.ts')
