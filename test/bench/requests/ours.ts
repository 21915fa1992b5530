/**
 * This gateway, whole, on a database file and its simulator, with production settings except for the rate limits.
 * Invariant: workers are idle. The simulator answers the first submit, of another app, with 402, so the submit
 * circuit opens. The image checker verifies the first 100 images and no more.
 */
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { loadConfig } from '../../../src/config/config.ts'
import { createGateway } from '../../../src/gateway/gateway.ts'
import { APP, type BenchServer, FILE } from './bench-server.ts'
import { prepareRequest } from './operations.ts'

const NO_CREDIT = { status: 402, body: '{"code":402,"message":"insufficient credits","data":null}' }
const HOUR = 60 * 60 * 1000

export async function start(folder: string): Promise<BenchServer> {
  const config = loadConfig({
    PORT: '0',
    DATABASE_URL: `file:${join(folder, FILE)}`,
    LOG_LEVEL: 'silent',
    MAX_REQUESTS_PER_MINUTE_PER_ADDRESS: '10000000',
    MAX_REQUESTS_PER_MINUTE_PER_KEY: '10000000',
  })
  const silent = () => {}
  const log = { debug: silent, info: silent, warn: silent, error: silent }
  const gateway = await createGateway(config, log, { simulator: { fault: () => NO_CREDIT } })
  const { sampleImage: imageUrl } = gateway.simulator!

  const other = await gateway.issueKey('other', HOUR)
  await fetch(gateway.endpoint, {
    method: 'POST',
    headers: { authorization: `Bearer ${other}`, 'content-type': 'application/json' },
    body: prepareRequest({ name: 'Submit', imageUrl }, 0).body,
  })
  while ((await gateway.store.submitCircuit()) === null) await pause(5)

  const authorization = `Bearer ${await gateway.issueKey(APP, HOUR)}`
  return { port: Number(new URL(gateway.url).port), authorization, imageUrl }
}
