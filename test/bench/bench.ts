/**
 * `npm run bench`: bare `ws`, the stock wiring and this gateway side by side, in one tree of processes, and a table of it.
 * `-- --quick` takes two and a half minutes, `-- --only requests` measures that part alone. Ratios count; absolute times are this machine's.
 * Exit code 0 whatever the targets say; 1 if the three did not do the same work, or it took too long.
 */
import { fairTable } from './fair/table.ts'
import { pollingTables } from './polling/table.ts'
import { measureReplay } from './replay.ts'
import { measureRequests } from './requests/measure.ts'
import { requestSizes } from './requests/sizes.ts'
import { requestsTableOf } from './requests/table.ts'
import { createResults } from './results.ts'
import { playRound } from './round.ts'
import { measureScale } from './scale/measure.ts'
import { scaleSizes } from './scale/sizes.ts'
import { scaleTableOf } from './scale/table.ts'
import { partOf, sizesOf } from './sizes.ts'
import { measureStalled } from './stalled.ts'
import { measureStart } from './start/measure.ts'
import { startSizes } from './start/sizes.ts'
import { startTableOf } from './start/table.ts'
import { figure, stalledTableOf, tableOf } from './table.ts'

const LONGEST_MS = 600_000

const args = process.argv.slice(2)
const sizes = sizesOf(args)
const part = partOf(args)
const begun = Date.now()
const spent = () => Date.now() - begun
// The processes it started see it go, and go too.
setTimeout(() => {
  console.error('bench: it took too long')
  process.exit(1)
}, LONGEST_MS).unref()

if (part !== null) {
  await import(`./${part}/main.ts`)
  process.exit()
}

const results = createResults()
let rounds = 0
do {
  console.log(`round ${rounds + 1} of ${sizes.rounds} …`)
  await playRound(sizes, rounds, results)
  rounds++
} while (rounds < sizes.rounds && spent() + spent() / rounds < sizes.roundsMs)
console.log('replay …')
const replay = await measureReplay(sizes)
console.log('stalled clients …')
const stalled = await measureStalled(sizes)

console.log('looks in simulated time …')
const polling = pollingTables()
console.log('places in simulated time …')
const fair = await fairTable()
console.log('jobs in flight …')
const isQuick = args.includes('--quick')
const scale = await measureScale(scaleSizes(isQuick))
console.log('requests …')
const requests = await measureRequests(requestSizes(isQuick))
console.log('starts …')
const starts = await measureStart(startSizes(isQuick))
console.log(`
${tableOf(results)}

Medians over ${rounds} of ${sizes.rounds} rounds; ratios are of samples taken one after the other, (least–greatest).
A message is one \`next\` frame to one of ${figure(sizes.clients)} clients; the audience is ${figure(sizes.audience)} clients.

${stalledTableOf(stalled)}

${polling}

${fair}

${scaleTableOf(scale)}

${requestsTableOf(requests)}

${startTableOf(starts)}

The live client has every event, in order.
Replay of ${figure(sizes.replayed)} missed events to one client: ${figure(replay)} events a second.
${figure(spent() / 1000)} s`)
