/**
 * `npm run simulator -- --port N`: the simulator alone, for a front end or a gateway without a key.
 */
import { existsSync, mkdirSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { createFaultPlan } from './fault-plan.ts'
import { createSimulator, WEBHOOK_SECRET } from './simulator.ts'

const USAGE = `npm run simulator -- [--port N] [--key KEY] [--file PATH] [--webhook-secret SECRET]
                     [--concurrency N] [--per-minute N] [--list-inputs] [--faults SEED]

  --port N                 port to listen on (default: the one of the last start, else a free one)
  --key KEY                the key that calls must have (default: simulator)
  --file PATH              where jobs and port are kept (default: data/simulator-alone.db)
  --webhook-secret SECRET  secret that signs webhooks (default: ${WEBHOOK_SECRET})
  --concurrency N          max concurrent videos; more submits get 429 (default: no limit)
  --per-minute N           max submits in any 60 s; more get 429 (default: no limit)
  --list-inputs            items of POST /predictions have their input (default: they lack it)
  --faults SEED            injects faults, reproducible by this number: a quarter of the submits is cut, stalled, slow,
                           refused or answered with an invalid body, before or after the job is created; so is a tenth
                           of the reads; 30 % of the webhooks are lost, doubled or late`

const text = { type: 'string' } as const
const flag = { type: 'boolean', default: false } as const
const OPTIONS = {
  port: text,
  key: { ...text, default: 'simulator' },
  file: text,
  'webhook-secret': text,
  concurrency: text,
  'per-minute': text,
  'list-inputs': flag,
  faults: text,
  help: { ...flag, short: 'h' },
} as const

try {
  const { values } = parseArgs({ options: OPTIONS })
  if (values.help) console.log(USAGE)
  else await start(values)
} catch (error) {
  const { code, message } = error as NodeJS.ErrnoException
  console.error(`simulator: ${code === 'EADDRINUSE' ? `the port is in use (${message})` : message}`)
  process.exitCode = 1
}

async function start(values: ReturnType<typeof parseArgs<{ options: typeof OPTIONS }>>['values']) {
  const integerOption = (
    name: 'port' | 'concurrency' | 'per-minute' | 'faults',
    min: number,
    max: number,
  ) => {
    const value = values[name]
    if (value === undefined) return undefined
    if (!/^\d+$/.test(value) || Number(value) < min || Number(value) > max)
      throw new Error(`--${name}: expected ${min} to ${max}, not "${value}"`)
    return Number(value)
  }
  const { key, file } = values
  const limits = {
    port: integerOption('port', 0, 65_535),
    concurrency: integerOption('concurrency', 1, 1_000_000),
    perMinute: integerOption('per-minute', 1, 1_000_000),
  }
  const seed = integerOption('faults', 0, 2 ** 32 - 1)
  if (file === undefined && !existsSync('data')) mkdirSync('data')
  const simulator = await createSimulator({
    file: file ?? 'data/simulator-alone.db',
    key,
    ...limits,
    webhookSecret: values['webhook-secret'],
    listsInputs: values['list-inputs'],
    ...(seed !== undefined && createFaultPlan({ seed, onFault: kind => console.log(`fault: ${kind}`) })),
  })
  console.log(`The simulator listens on ${simulator.origin}/api/v3; its key is "${key}". Nothing is charged.

  curl -s ${simulator.origin}/api/v3/alibaba/wan-2.2/i2v-plus-480p \\
    -H 'authorization: Bearer ${key}' -H 'content-type: application/json' \\
    -d '{"image": "${simulator.sampleImage}", "prompt": "a slow pan"}'`)
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => simulator.close())
}
