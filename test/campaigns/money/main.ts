/**
 * `npm run torture`: the long form. `-- --seed N` draws the same chances again, `-- --short` is what `npm test` runs.
 * Exit code 0 if every row says what upstream's ledger says; 1, and what was breached, if not.
 */
import { command } from '../../support/campaign.ts'
import { LONG, SHORT } from './plan.ts'
import { runTorture } from './torture.ts'

await command('torture', runTorture, { long: LONG, short: SHORT })
