/**
 * `npm run torture`: the long form. `-- --seed N` draws the same chances again, `-- --short` is what `npm test` runs.
 * Exit code 0 if every row says what upstream's ledger says; 1, and what was breached, if not.
 */
import { runCampaignCommand } from '../../support/campaign.ts'
import { runMoneyCampaign } from './money-campaign.ts'
import { LONG, SHORT } from './plan.ts'

await runCampaignCommand('torture', runMoneyCampaign, { long: LONG, short: SHORT })
