/**
 * `node test/bench/requests/main.ts`: requests to bare `node:http`, to stock yoga and to this gateway. Some 75 seconds;
 * `--quick` takes a third of it.
 */
import { measureRequests } from './measure.ts'
import { requestSizes } from './sizes.ts'
import { formatRequestsTable } from './table.ts'

console.log(formatRequestsTable(await measureRequests(requestSizes(process.argv.includes('--quick')))))
