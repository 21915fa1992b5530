/**
 * `node test/bench/scale/main.ts`: 10,000 jobs in flight beside 100. Some 100 seconds; `--quick` takes half of it.
 */
import { measureScale } from './measure.ts'
import { scaleSizes } from './sizes.ts'
import { formatScaleTable } from './table.ts'

const isQuick = process.argv.includes('--quick')
console.log(formatScaleTable(await measureScale(scaleSizes(isQuick))))
