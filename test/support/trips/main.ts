/**
 * Prints the trips: `node --import ./test/support/trips/register.ts test/support/trips/main.ts`, with `--json` for
 * programs.
 */
import { filesIn, returnsIn } from './count.ts'
import { measureTrips } from './trips.ts'

const trips = await measureTrips()
if (process.argv.includes('--json')) console.log(JSON.stringify(trips))
else
  for (const [name, trip] of Object.entries(trips)) {
    console.log(`\n${name}: ${filesIn(trip)} files, ${returnsIn(trip)} returns`)
    for (const [i, file] of trip.path.entries())
      console.log(trip.path.indexOf(file) < i ? `  ↩ ${file}` : `    ${file}`)
  }
