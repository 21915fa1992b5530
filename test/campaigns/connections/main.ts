/**
 * `npm run chaos`: the long form of the connections campaign. `-- --seed N` repeats a run, `-- --short` runs what
 * `npm test` runs.
 * Exit code 0 if every client received the event log. Otherwise 1, and the breaches are printed.
 */
import { runCampaignCommand } from '../../support/campaign.ts'
import { runConnectionsCampaign } from './connections-campaign.ts'
import { LONG, SHORT } from './plan.ts'

await runCampaignCommand('chaos', runConnectionsCampaign, { long: LONG, short: SHORT })
