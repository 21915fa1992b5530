/**
 * `npm run bench`: bare `ws`, the stock wiring and this gateway side by side, and tables of the results. `-- --quick`
 * takes two and a half minutes, `-- --only requests` measures that part alone. Ratios count; absolute times are this
 * machine's.
 * Exit code 0 whatever the targets say. Exit code 1 if the three did not do the same work, or on a time-out.
 */
import { fairTable } from './fair/table.ts'
import { pollingTables } from './polling/table.ts'
import { measureReplay } from './replay.ts'
import { measureRequests } from './requests/measure.ts'
import { requestSizes } from './requests/sizes.ts'
import { formatRequestsTable } from './requests/table.ts'
import { createResults } from './results.ts'
import { runRound } from './round.ts'
import { measureScale } from './scale/measure.ts'
import { scaleSizes } from './scale/sizes.ts'
import { formatScaleTable } from './scale/table.ts'
import { parsePart, parseSizes } from './sizes.ts'
import { measureStalled } from './stalled-clients.ts'
import { measureStart } from './start/measure.ts'
import { startSizes } from './start/sizes.ts'
import { formatStartTable } from './start/table.ts'
import { formatNumber, formatResultsTable, formatStalledTable } from './table.ts'

const MAX_RUN_MS = 600_000

const args = process.argv.slice(2)
const sizes = parseSizes(args)
const part = parsePart(args)
const startedAt = Date.now()
const elapsedMs = () => Date.now() - startedAt
// The child processes exit when this process is gone.
setTimeout(() => {
  console.error('bench: time-out')
  process.exit(1)
}, MAX_RUN_MS).unref()

if (part !== null) {
  await import(`./${part}/main.ts`)
  process.exit()
}

const results = createResults()
let rounds = 0
do {
  console.log(`round ${rounds + 1} of ${sizes.rounds} …`)
  await runRound(sizes, rounds, results)
  rounds++
} while (rounds < sizes.rounds && elapsedMs() + elapsedMs() / rounds < sizes.maxRoundsMs)
console.log('replay …')
const replay = await measureReplay(sizes)
console.log('stalled clients …')
const stalled = await measureStalled(sizes)

console.log('polling in simulated time …')
const polling = pollingTables()
console.log('slots in simulated time …')
const fair = await fairTable()
console.log('jobs in flight …')
const isQuick = args.includes('--quick')
const scale = await measureScale(scaleSizes(isQuick))
console.log('requests …')
const requests = await measureRequests(requestSizes(isQuick))
console.log('starts …')
const starts = await measureStart(startSizes(isQuick))
console.log(`
${formatResultsTable(results)}

Medians over ${rounds} of ${sizes.rounds} rounds; ratios are of samples taken one after the other, (min–max).
A message is one \`next\` frame to one of ${formatNumber(sizes.clients)} clients; the audience is ${formatNumber(sizes.audience)} clients.

${formatStalledTable(stalled)}

${polling}

${fair}

${formatScaleTable(scale)}

${formatRequestsTable(requests)}

${formatStartTable(starts)}

The live client received every event, in order.
Replay of ${formatNumber(sizes.replayed)} missed events to one client: ${formatNumber(replay)} events a second.
${formatNumber(elapsedMs() / 1000)} s`)
