/**
 * `npm run torture`: the long form of the money campaign. `-- --seed N` repeats a run, `-- --short` runs what `npm
 * test` runs.
 * Exit code 0 if every row agrees with the upstream ledger. Otherwise 1, and the breaches are printed.
 */
import { runCampaignCommand } from '../../support/campaign.ts'
import { runMoneyCampaign } from './money-campaign.ts'
import { LONG, SHORT } from './plan.ts'

await runCampaignCommand('torture', runMoneyCampaign, { long: LONG, short: SHORT })
