/**
 * `npm run simulator -- --port N`: the simulator alone, for a front end or a gateway without a key.
 */
import { existsSync, mkdirSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { createSimulator } from './simulator.ts'

const USAGE = `npm run simulator -- [--port N] [--key KEY] [--file PATH]

  --port N     port to listen on (default: the one of the last start, else a free one)
  --key KEY    the key it asks for (default: simulator)
  --file PATH  where jobs and port are kept (default: data/simulator-alone.db)`

try {
  const { values } = parseArgs({
    options: {
      port: { type: 'string' },
      key: { type: 'string', default: 'simulator' },
      file: { type: 'string' },
      help: { type: 'boolean', short: 'h' },
    },
  })
  if (values.help) console.log(USAGE)
  else await start(values.port, values.key, values.file)
} catch (error) {
  const { code, message } = error as NodeJS.ErrnoException
  console.error(`simulator: ${code === 'EADDRINUSE' ? `the port is in use (${message})` : message}`)
  process.exitCode = 1
}

async function start(portText: string | undefined, key: string, file: string | undefined): Promise<void> {
  const port = portText === undefined ? undefined : Number(portText)
  if (port !== undefined && !(Number.isInteger(port) && port >= 0 && port <= 65_535))
    throw new Error(`--port: expected 0 to 65535, not "${portText}"`)
  if (file === undefined && !existsSync('data')) mkdirSync('data')
  const simulator = await createSimulator({ file: file ?? 'data/simulator-alone.db', key, port })
  console.log(`The simulator listens on ${simulator.origin}/api/v3; its key is "${key}". Nothing is charged.

  curl -s ${simulator.origin}/api/v3/alibaba/wan-2.2/i2v-plus-480p \\
    -H 'authorization: Bearer ${key}' -H 'content-type: application/json' \\
    -d '{"image": "${simulator.sampleImage}", "prompt": "a slow pan"}'`)
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => simulator.close())
}
