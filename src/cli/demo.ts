/**
 * `npm run demo`: a gateway of its own, one job, watched from mutation to video as any front end would.
 * It always asks the simulator, whatever key the environment holds: a demo costs nothing.
 * Exit code 0 if the video plays; 1, and a sentence, if anything failed.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createClient } from 'graphql-ws'
import { request } from 'undici'
import { WebSocket } from 'ws'
import { loadConfig } from '../config.ts'
import { createGateway, type Gateway } from '../gateway.ts'
import { createLog } from '../log.ts'
import { createProgress } from './progress.ts'
import { readVideo } from './video.ts'

const SUBMIT = `mutation Submit($input: SubmitVideoInput!) {
  submitVideo(input: $input) {
    ... on SubmitVideoPayload { prediction { id cost { amount } } }
    ... on InvalidInputError { issues { path message } }
    ... on Error { code message }
  }
}`
const WATCH = `subscription Watch($id: ID!) {
  predictionUpdated(id: $id) { status queuePosition outputs { url } error { code message } }
}`
const HOUR = 60 * 60 * 1000
/** The simulator takes some ten seconds. */
const PATIENCE_MS = 60_000

interface State {
  status: string
  queuePosition: number | null
  outputs: { url: string }[]
  error: { code: string; message: string } | null
}

const interrupted = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.on(signal, () => interrupted.abort(new Error('interrupted')))
process.stdout.on('error', () => interrupted.abort(new Error('nobody reads the output')))

let folder: string | null = null
let gateway: Gateway | null = null
try {
  folder = await mkdtemp(join(tmpdir(), 'rushes-demo-'))
  const signal = AbortSignal.any([interrupted.signal, AbortSignal.timeout(PATIENCE_MS)])
  const config = loadConfig({
    PORT: '0',
    DATABASE_URL: `file:${folder}/rushes.db`,
    POLL_MIN_INTERVAL_MS: '250',
  })
  gateway = await createGateway(config, await createLog('error'))
  console.log(await show(gateway, signal))
} catch (error) {
  console.error(`demo: ${(error as Error).message}`)
  process.exitCode = 1
} finally {
  await gateway?.close()
  if (folder !== null) await rm(folder, { recursive: true, force: true })
}

async function show(gateway: Gateway, signal: AbortSignal): Promise<string> {
  const { endpoint, simulator } = gateway
  const authorization = `Bearer ${await gateway.issueKey('demo', HOUR)}`
  console.log(`A gateway at ${endpoint}, on the simulator: nothing is charged.`)

  const input = {
    image: { url: simulator?.sampleImage },
    prompt: 'dusk over the hills, a slow pan to the left',
  }
  const response = await request(endpoint, {
    method: 'POST',
    headers: { authorization, 'content-type': 'application/json' },
    body: JSON.stringify({ query: SUBMIT, variables: { input } }),
    signal,
  })
  const answer = (await response.body.json()) as {
    data?: { submitVideo: { prediction?: { id: string; cost: { amount: number } } } }
  }
  const prediction = answer.data?.submitVideo.prediction
  if (prediction === undefined) throw new Error(`the submit was refused: ${JSON.stringify(answer)}`)
  console.log(`Submitted "${input.prompt}" (would cost $${prediction.cost.amount.toFixed(2)}).`)

  const { status, outputs, error } = await watch(endpoint, authorization, prediction.id, signal)
  const url = outputs[0]?.url
  if (url === undefined)
    throw new Error(`the job ended ${status}${error === null ? '' : `: ${error.message}`}`)
  const video = await readVideo(url, signal)
  const size = `${video.width} × ${video.height}, ${video.seconds.toFixed(1)} s, ${video.codec}, ${Math.round(video.bytes / 1024)} KiB`
  return `The video is there and plays (${size}):\n  ${url}\nThat address ends with this demo; npm start gives you a gateway that stays.`
}

/** Follows the job to its end. */
async function watch(
  endpoint: string,
  authorization: string,
  id: string,
  signal: AbortSignal,
): Promise<State> {
  const client = createClient({
    url: endpoint.replace('http', 'ws'),
    webSocketImpl: WebSocket,
    connectionParams: { authorization },
  })
  const updates = client.iterate<{ predictionUpdated: State }>({ query: WATCH, variables: { id } })
  const stop = () => void updates.return?.()
  signal.addEventListener('abort', stop)
  const progress = createProgress(process.stdout)
  let last: State | null = null
  try {
    for await (const { data, errors } of updates) {
      if (!data) throw new Error(`the subscription failed: ${JSON.stringify(errors)}`)
      last = data.predictionUpdated
      progress.say(
        last.queuePosition === null ? last.status : `${last.status}, ${last.queuePosition} in the queue`,
      )
    }
  } catch (error) {
    throw error instanceof Error ? error : new Error('the connection to the gateway was lost')
  } finally {
    signal.removeEventListener('abort', stop)
    progress.end()
    await client.dispose()
  }
  signal.throwIfAborted()
  if (last === null) throw new Error('the subscription ended before it began')
  return last
}
