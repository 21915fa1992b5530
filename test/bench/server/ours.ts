/**
 * This gateway, whole, on its simulator. An event is a prediction that is created in its store; the row's cost
 * counts.
 * Invariant: one event per prediction. The simulator answers every call with 402, so after the first submit the
 * submit circuit opens and no probe closes it. The refused job stays QUEUED. The first 100 images are checked, no
 * more.
 */
import { setTimeout as pause } from 'node:timers/promises'
import { loadConfig } from '../../../src/config/config.ts'
import type { AppId, Draft } from '../../../src/domain/prediction.ts'
import { createGateway } from '../../../src/gateway/gateway.ts'
import { numberTags } from '../event.ts'
import type { BenchServer } from './bench-server.ts'

const NO_CREDIT = { status: 402, body: '{"code":402,"message":"insufficient credits","data":null}' }
const APP = 'bench'
const HOUR = 60 * 60 * 1000

export async function start(): Promise<BenchServer> {
  const config = loadConfig({
    PORT: '0',
    DATABASE_URL: 'file::memory:',
    LOG_LEVEL: 'silent',
    MAX_CONNECTIONS_PER_APP: '100000',
    MAX_CONNECTIONS: '100000',
    MAX_CONNECTIONS_PER_ADDRESS: '100000',
    MAX_REQUESTS_PER_MINUTE_PER_ADDRESS: '10000000',
    MAX_REQUESTS_PER_MINUTE_PER_KEY: '10000000',
    MAX_OPERATIONS_PER_SECOND: '1000000',
  })
  const silent = () => {}
  const log = { debug: silent, info: silent, warn: silent, error: silent }
  const gateway = await createGateway(config, log, { simulator: { fault: () => NO_CREDIT } })
  const { store } = gateway

  const authorization = `Bearer ${await gateway.issueKey(APP, HOUR)}`
  const { id: appId } = (await store.findAppByName(APP))!
  const imageUrl = gateway.simulator!.sampleImage
  const createPrediction = (number: number) => store.create(draft(appId, number, imageUrl), null, Date.now())
  await createPrediction(0)
  while ((await store.submitCircuit()) === null) await pause(5)

  return {
    url: gateway.endpoint.replace('http', 'ws'),
    authorization,
    async publish(numbers) {
      await Promise.all(numbers.map(createPrediction))
    },
  }
}

const draft = (appId: AppId, number: number, imageUrl: string): Draft & { cost: number } => ({
  appId,
  model: 'WAN_2_2_I2V_PLUS_1080P',
  input: {
    imageUrl,
    prompt: 'a slow pan',
    negativePrompt: null,
    duration: 5,
    enablePromptExpansion: false,
    seed: -1,
  },
  tags: numberTags(number),
  metadata: null,
  retryOf: null,
  uploadId: null,
  restrictionKey: '',
  tokenId: null,
  cost: 800_000,
})
