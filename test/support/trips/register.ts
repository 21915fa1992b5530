/**
 * Instruments the modules of src that are loaded after it, for `node --import`. The dashboard runs in browsers, and the
 * simulator is not part of the gateway: both are left as they are.
 */
import { readFileSync } from 'node:fs'
import { registerHooks } from 'node:module'
import { relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { instrumentSource } from './instrument-source.ts'

const SRC = fileURLToPath(new URL('../../../src', import.meta.url))
const RECORDER = new URL('./recorder.ts', import.meta.url).href

registerHooks({
  load(url, context, nextLoad) {
    const file = url.startsWith('file:') ? relative(SRC, fileURLToPath(url)) : ''
    if (!file.endsWith('.ts') || /^(\.\.|dashboard|simulator)\//.test(file)) return nextLoad(url, context)
    const name = JSON.stringify(file)
    // The loop of a worker runs from `start` to the end of the process.
    const expressionFor = (textBefore: string) =>
      file.startsWith('workers/') && /\bstart$/.test(textBefore) ? `$enterWorker(${name})` : `$enter(${name})`
    const code = instrumentSource(readFileSync(fileURLToPath(url), 'utf8'), expressionFor)
    const source = `import { enter as $enter, enterWorker as $enterWorker } from '${RECORDER}';${code}`
    return { format: 'module', source, shortCircuit: true }
  },
})
