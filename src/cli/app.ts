/**
 * `npm run app`: makes an app and its first key, which is shown once; takes a key back.
 * Works beside a running gateway: both write the same file, and a key that is taken back ends its connections there
 * within five seconds.
 */
import { parseArgs } from 'node:util'
import { loadConfig } from '../config.ts'
import { StartError } from '../errors.ts'
import { createKey, PREFIX } from '../key.ts'
import { openSqlite } from '../store/sqlite/open.ts'

const USAGE = `npm run app -- create NAME [--expires DATE] [--json]
npm run app -- revoke KEY

  NAME            1 to 64 letters, digits, dots, dashes or underscores
  --expires DATE  when the key ends to be valid, as in 2027-01-31 (default: never)
  --json          answer for a machine
  KEY             a key, or its first 12 characters`

const NAME = /^[\w.-]{1,64}$/

try {
  await run(process.argv.slice(2))
} catch (error) {
  const isUsage =
    error instanceof Error && String((error as NodeJS.ErrnoException).code).startsWith('ERR_PARSE_ARGS')
  if (!(error instanceof StartError) && !isUsage) throw error
  console.error(`app: ${error.message}${isUsage ? `\n\n${USAGE}` : ''}`)
  process.exitCode = 1
}

async function run(args: string[]): Promise<void> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      expires: { type: 'string' },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h' },
    },
  })
  const [verb, subject, ...rest] = positionals
  if (values.help) return console.log(USAGE)
  if (subject !== undefined && rest.length === 0) {
    if (verb === 'create') return create(subject, values.expires, values.json)
    if (verb === 'revoke') return revoke(subject)
  }
  throw new StartError(`expected "create NAME" or "revoke KEY".\n\n${USAGE}`)
}

async function revoke(key: string): Promise<void> {
  const prefix = key.slice(0, PREFIX)
  const store = openSqlite(loadConfig(process.env).databaseFile, () => {})
  try {
    if (!(await store.revokeKey(prefix)))
      throw new StartError(`there is no key that begins with "${prefix}".`)
    console.log(`The key ${prefix}… is no longer good.`)
  } finally {
    await store.close()
  }
}

async function create(name: string, expires: string | undefined, json: boolean): Promise<void> {
  if (!NAME.test(name))
    throw new StartError(`"${name}" is no name: 1 to 64 letters, digits, dots, dashes or underscores.`)
  const now = Date.now()
  const expiresAt = expires === undefined ? null : Date.parse(expires)
  if (Number.isNaN(expiresAt))
    throw new StartError(`--expires: "${expires}" is no date; expected one like 2027-01-31.`)
  if (expiresAt !== null && expiresAt <= now) throw new StartError(`--expires: ${expires} is past.`)

  const { databaseFile } = loadConfig(process.env)
  const store = openSqlite(databaseFile, () => {})
  try {
    const app = await store.createApp(name, now)
    if (app === null) throw new StartError(`there is an app named "${name}" already.`)
    const { key, prefix, hash } = createKey()
    await store.addKey(app.id, { prefix, hash, expiresAt }, now)
    const validUntil = expiresAt === null ? null : new Date(expiresAt).toISOString()
    if (json) return console.log(JSON.stringify({ id: app.id, name, key, expiresAt: validUntil }))
    console.log(`App "${name}" is there. Its key${validUntil === null ? '' : `, valid until ${validUntil}`}:

  ${key}

Keep it on the app's server; it is not shown again.`)
  } finally {
    await store.close()
  }
}
