/**
 * `node test/bench/start/main.ts`: time to ready and resident memory of a gateway. About 50 seconds; `--quick` takes
 * a third of it.
 */
import { measureStart } from './measure.ts'
import { startSizes } from './sizes.ts'
import { formatStartTable } from './table.ts'

const isQuick = process.argv.includes('--quick')
console.log(formatStartTable(await measureStart(startSizes(isQuick))))
