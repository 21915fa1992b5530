/**
 * `node test/bench/polling/main.ts`: how many polls a job needs for which delay. A few seconds, the same result each
 * time.
 */
import { pollingTables } from './table.ts'

console.log(pollingTables())
