/**
 * `npm run chaos`: the long form. `-- --seed N` draws the same chances again, `-- --short` is what `npm test` runs.
 * Exit code 0 if every client was told what the log says; 1, and what was breached, if not.
 */
import { runCampaignCommand } from '../../support/campaign.ts'
import { runConnectionsCampaign } from './connections-campaign.ts'
import { LONG, SHORT } from './plan.ts'

await runCampaignCommand('chaos', runConnectionsCampaign, { long: LONG, short: SHORT })
