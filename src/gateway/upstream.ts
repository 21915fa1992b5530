/**
 * Builds the gateway's way to its upstream: the account or the simulator, the client, the webhook URLs and the image fetch.
 */
import type { Config } from '../config/config.ts'
import { MODELS } from '../domain/models.ts'
import { SECOND_MS } from '../domain/time.ts'
import { createImageFetch } from '../image-fetch/image-fetch.ts'
import { createClocks } from '../runtime/clocks.ts'
import type { Simulator } from '../simulator/simulator.ts'
import type { Store } from '../store/store.ts'
import { createUpstream } from '../upstream/client.ts'
import { createWebhookUrls } from '../upstream/webhook-url.ts'
import type { UpstreamAccess } from '../workers/workers.ts'
import { withCleanups } from './cleanups.ts'
import type { GatewayOverrides } from './options.ts'
import { assertSameUpstream, chooseUpstream } from './upstream-choice.ts'

export interface OpenedUpstream extends UpstreamAccess {
  /** Null with a real account. */
  simulator: Simulator | null
  close(): Promise<void>
}

/** Expected duration of a simulated job. */
const SIMULATED_JOB_MS = 8000

/** @throws StartupError if the database belongs to another upstream, or if the simulator can't start */
export const openUpstream = (
  config: Config,
  store: Store,
  overrides: GatewayOverrides,
): Promise<OpenedUpstream> =>
  withCleanups(async cleanups => {
    await assertSameUpstream(store, config)
    const { simulator, ...account } = await chooseUpstream(config, overrides)
    if (simulator !== null) cleanups.push(simulator.close)
    const { submitTimeoutMs, readTimeoutMs, allowPrivateImageHosts } = config
    const client = createUpstream({ ...account, clocks: createClocks(), submitTimeoutMs, readTimeoutMs })
    cleanups.push(client.close)
    const imageFetch = overrides.imageFetch ?? createImageFetch({ allowPrivateImageHosts })
    cleanups.push(imageFetch.close)
    // Without a secret every webhook would be refused: none is asked for.
    const webhooksEnabled = config.publicUrl !== null && config.webhookSecrets.length > 0
    return {
      simulator,
      client,
      imageFetch,
      webhookUrls: createWebhookUrls(store.webhookKey, webhooksEnabled ? config.publicUrl : null),
      webhooksEnabled,
      expectedMs: model =>
        simulator === null ? MODELS[model].expectedSeconds * SECOND_MS : SIMULATED_JOB_MS,
      close: cleanups.run,
    }
  })
