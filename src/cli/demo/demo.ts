/**
 * `npm run demo`: starts a gateway, submits one job and watches it until its video is ready, as a front end would.
 * It always uses the simulator, whatever key the environment has, so it costs nothing.
 * Exit code 0 if the video plays; else 1 with a sentence on stderr.
 */
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createClient } from 'graphql-ws'
import { request } from 'undici'
import { WebSocket } from 'ws'
import { resumable } from '../../client/resumable.ts'
import { loadConfig } from '../../config/config.ts'
import { HOUR_MS, MINUTE_MS } from '../../domain/time.ts'
import { createGateway, type Gateway } from '../../gateway/gateway.ts'
import { createLog } from '../../observability/log.ts'
import { dashboardLink } from '../../server/web/dashboard-link.ts'
import { createProgress } from './progress.ts'
import { checkVideo } from './video-check.ts'

const SUBMIT = `mutation Submit($input: SubmitVideoInput!) {
  submitVideo(input: $input) {
    ... on SubmitVideoPayload { prediction { id cost { amount } } }
    ... on InvalidInputError { issues { path message } }
    ... on Error { code message }
  }
}`
const FEED_CURSOR = '{ feedCursor }'
const WATCH = `subscription Watch($after: String, $id: ID!) {
  predictionFeed(after: $after, filter: { ids: [$id] }) {
    ... on PredictionEvent { cursor prediction { status outputs { url } error { message } } }
    ... on FeedCaughtUp { cursor }
    ... on FeedGap { cursor reason }
  }
}`
const FINAL = new Set(['COMPLETED', 'FAILED', 'CANCELED'])
/** The simulator takes about ten seconds. */
const DEMO_TIMEOUT_MS = MINUTE_MS

interface PredictionView {
  status: string
  outputs: { url: string }[]
  error: { message: string } | null
}

interface Update {
  data?: { predictionFeed: { prediction?: PredictionView; reason?: string } } | null
  errors?: unknown
}

const interrupted = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
  process.on(signal, () => interrupted.abort(new Error('interrupted')))
process.stdout.on('error', () => interrupted.abort(new Error('the output was closed')))

let folder: string | null = null
let gateway: Gateway | null = null
try {
  folder = await mkdtemp(join(tmpdir(), 'rushes-demo-'))
  const signal = AbortSignal.any([interrupted.signal, AbortSignal.timeout(DEMO_TIMEOUT_MS)])
  const config = loadConfig({
    PORT: '0',
    DATABASE_URL: `file:${folder}/rushes.db`,
    POLL_MIN_INTERVAL_MS: '250',
  })
  gateway = await createGateway(config, await createLog('error'))
  console.log(await runDemo(gateway, signal))
  if (process.stdout.isTTY) {
    console.log('The dashboard above shows it and takes more submits. Ctrl-C ends the demo.')
    await once(interrupted.signal, 'abort')
  }
} catch (error) {
  console.error(`demo: ${(error as Error).message}`)
  process.exitCode = 1
} finally {
  await gateway?.close()
  if (folder !== null) await rm(folder, { recursive: true, force: true })
}

async function runDemo(gateway: Gateway, signal: AbortSignal): Promise<string> {
  const { endpoint, simulator, url: dashboardUrl } = gateway
  const key = await gateway.issueKey('demo', HOUR_MS)
  const authorization = `Bearer ${key}`
  console.log(`A gateway at ${endpoint}, on the simulator: nothing is charged.`)
  console.log(`Its dashboard: ${dashboardLink(dashboardUrl, key)}`)

  async function execute<Data>(query: string, variables = {}): Promise<Data> {
    const response = await request(endpoint, {
      method: 'POST',
      headers: { authorization, 'content-type': 'application/json' },
      body: JSON.stringify({ query, variables }),
      signal,
    })
    const { data, errors } = (await response.body.json()) as { data?: Data; errors?: unknown }
    if (!data) throw new Error(`the gateway refused: ${JSON.stringify(errors)}`)
    return data
  }

  const { feedCursor } = await execute<{ feedCursor: string }>(FEED_CURSOR)
  const input = {
    image: { url: simulator?.sampleImage },
    prompt: 'dusk over the hills, a slow pan to the left',
  }
  const { submitVideo } = await execute<{
    submitVideo: { prediction?: { id: string; cost: { amount: number } } }
  }>(SUBMIT, { input })
  const { prediction } = submitVideo
  if (prediction === undefined) throw new Error(`the submit was refused: ${JSON.stringify(submitVideo)}`)
  console.log(`Submitted "${input.prompt}" (would cost $${prediction.cost.amount.toFixed(2)}).`)

  const { status, outputs, error } = await waitUntilFinal(
    endpoint,
    authorization,
    { after: feedCursor, id: prediction.id },
    signal,
  )
  const url = outputs[0]?.url
  if (url === undefined)
    throw new Error(`the job ended ${status}${error === null ? '' : `: ${error.message}`}`)
  const video = await checkVideo(url, signal)
  const size = `${video.width} × ${video.height}, ${video.seconds.toFixed(1)} s, ${video.codec}, ${Math.round(video.bytes / 1024)} KiB`
  return `The video is ready and plays (${size}):\n  ${url}\nThis URL ends with the demo; npm start runs a gateway that stays.`
}

/** Watches the job to its end, across reconnects. */
async function waitUntilFinal(
  endpoint: string,
  authorization: string,
  variables: { after: string; id: string },
  signal: AbortSignal,
): Promise<PredictionView> {
  const client = resumable(
    createClient({
      url: endpoint.replace('http', 'ws'),
      webSocketImpl: WebSocket,
      connectionParams: { authorization },
      retryAttempts: Number.POSITIVE_INFINITY,
      shouldRetry: () => true,
    }),
  )
  const progress = createProgress(process.stdout)
  try {
    return await new Promise<PredictionView>((resolve, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason))
      client.subscribe(
        { query: WATCH, variables },
        {
          next(result) {
            const { data, errors } = result as Update
            if (!data) return reject(new Error(`the subscription failed: ${JSON.stringify(errors)}`))
            const { prediction, reason } = data.predictionFeed
            if (reason !== undefined) return reject(new Error(`events are missing: ${reason}`))
            if (prediction === undefined) return
            progress.update(prediction.status)
            if (FINAL.has(prediction.status)) resolve(prediction)
          },
          error: error => reject(error instanceof Error ? error : new Error('the connection was refused')),
          complete: () => reject(new Error('the subscription ended before the job did')),
        },
      )
    })
  } finally {
    progress.end()
    await client.dispose()
  }
}
