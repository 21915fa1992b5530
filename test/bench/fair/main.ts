/**
 * `node test/bench/fair/main.ts`: how slots are shared among apps. A few seconds, the same result each time.
 */
import { fairTable } from './table.ts'

console.log(await fairTable())
