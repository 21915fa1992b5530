/**
 * `node test/bench/start/main.ts`: how soon a gateway is ready, and what it keeps. Some 50 seconds; `--quick` takes a third
 * of it.
 */
import { measureStart } from './measure.ts'
import { startSizes } from './sizes.ts'
import { formatStartTable } from './table.ts'

const isQuick = process.argv.includes('--quick')
console.log(formatStartTable(await measureStart(startSizes(isQuick))))
