/**
 * `node test/bench/scale/main.ts`: 10,000 jobs in flight beside 100. Some 100 seconds; `--quick` takes half of it.
 */
import { measureScale } from './measure.ts'
import { scaleSizes } from './sizes.ts'
import { scaleTableOf } from './table.ts'

const isQuick = process.argv.includes('--quick')
console.log(scaleTableOf(await measureScale(scaleSizes(isQuick))))
