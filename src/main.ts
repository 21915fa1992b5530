/**
 * Starts the gateway, prints where it listens, and stops it on a signal. If it cannot start, the operator sees one sentence
 * and the exit code is 1.
 */
import { loadConfig } from './config/config.ts'
import { SETTINGS, valueOrUndefined } from './config/settings.ts'
import { locateDatabase } from './domain/database-url.ts'
import { StartupError } from './domain/errors.ts'
import { DAY_MS } from './domain/time.ts'
import { createGateway, type Gateway } from './gateway/gateway.ts'
import { createLog } from './observability/log.ts'
import { dashboardLink } from './server/web/dashboard-link.ts'
import { preloadEngine } from './store/open-store.ts'

/** The process exits after this time, whatever is still open, so that it always stops within five seconds. */
const FORCED_EXIT_MS = 4900

/** Loads the modules that only the start imports, so that the memory used by loading can be freed before. */
export const preload = (): Promise<void> =>
  preloadEngine(valueOrUndefined(process.env.DATABASE_URL) ?? SETTINGS.DATABASE_URL.default)

export async function main(): Promise<void> {
  // A closed terminal or log pipe must not end a process with paid jobs in flight.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {})
  try {
    const config = loadConfig(process.env)
    const log = await createLog(config.logLevel)
    const gateway = await createGateway(config, log)
    stopOnSignal(gateway)
    console.log(await greeting(gateway, config.databaseUrl, config.upstream?.baseUrl ?? null))
  } catch (error) {
    if (!(error instanceof StartupError)) throw error
    console.error(`rushes: ${error.message}`)
    process.exitCode = 1
  }
}

function stopOnSignal(gateway: Gateway): void {
  let stopping = false
  const stop = () => {
    if (stopping) return
    stopping = true
    setTimeout(() => process.exit(0), FORCED_EXIT_MS).unref()
    gateway.close().then(
      () => process.exit(0),
      error => {
        console.error(error)
        process.exit(1)
      },
    )
  }
  // SIGHUP comes when a terminal is closed.
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, stop)
}

async function greeting(gateway: Gateway, databaseUrl: string, baseUrl: string | null): Promise<string> {
  const { endpoint, simulator, url } = gateway
  const key = simulator === null ? null : await gateway.issueKey('demo', DAY_MS)
  const { file } = locateDatabase(databaseUrl)
  const lines = [
    '',
    'Rushes is listening.',
    '',
    `  Dashboard ${dashboardLink(url, key)}`,
    `  GraphQL   ${endpoint}   (POST, GET, SSE; GraphiQL in a browser)`,
    `            ${endpoint.replace('http', 'ws')}     (WebSocket, graphql-transport-ws)`,
    `  Health    ${url}/health/ready`,
    `  Database  ${file}`,
  ]
  if (simulator === null || key === null) {
    lines.push(`  Upstream  ${baseUrl}`, '')
    // `npm run app` opens the default database if none is named.
    const databaseSetting = databaseUrl === SETTINGS.DATABASE_URL.default ? '' : `DATABASE_URL=file:${file} `
    if ((await gateway.store.countApps()) === 0)
      lines.push(
        'There is no app yet, so no client has access. Create one:',
        '',
        `  ${databaseSetting}npm run app -- create NAME`,
        '',
      )
    return lines.join('\n')
  }
  lines.push(
    `  Upstream  the SIMULATOR at ${simulator.origin}`,
    '            WAVESPEED_API_KEY is not set: nothing is sent to WaveSpeed, nothing is charged, the videos are samples.',
    `  Image     ${simulator.sampleImage}`,
    `  Key       ${key}`,
    '            of the app "demo", good for 24 hours',
    '',
    'Submit a video:',
    '',
    curl(
      endpoint,
      key,
      `mutation { submitVideo(input: {image: {url: "${simulator.sampleImage}"}, prompt: "a slow pan"}) { ... on SubmitVideoPayload { prediction { id status } } ... on Error { code message } } }`,
    ),
    '',
    'Watch all events:',
    '',
    curl(
      endpoint,
      key,
      'subscription { predictionFeed { __typename ... on PredictionEvent { prediction { id status outputs { url } } } } }',
      ' -N -H "accept: text/event-stream"',
    ),
    '',
  )
  return lines.join('\n')
}

function curl(endpoint: string, key: string, query: string, extraFlags = ''): string {
  const headers = `-H "authorization: Bearer ${key}" -H "content-type: application/json"`
  return `  curl -s${extraFlags} ${endpoint} ${headers} -d '${JSON.stringify({ query })}'`
}
