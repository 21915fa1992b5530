/**
 * `node test/bench/polling/main.ts`: how often jobs are looked at for how small a delay. A few seconds, the same each time.
 */
import { pollingTables } from './table.ts'

console.log(pollingTables())
