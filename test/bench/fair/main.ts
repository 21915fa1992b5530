/**
 * `node test/bench/fair/main.ts`: how places are shared among apps. A few seconds, the same each time.
 */
import { fairTable } from './table.ts'

console.log(await fairTable())
