import { readdir, readFile } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { readResidentBytes } from '../bench/start/resident-memory.ts'
import { emptyFolder, run } from '../support/process.ts'

const ACCOUNT = { WAVESPEED_API_KEY: 'k', WAVESPEED_BASE_URL: 'http://127.0.0.1:9' }

/** The files of the scripts that a gateway has loaded when it prints that it listens. */
async function loadedFiles(env: Record<string, string>): Promise<string[]> {
  await using folder = await emptyFolder()
  const coverage = join(folder.path, 'coverage')
  await using gateway = run('start.js', folder.path, { PORT: '0', NODE_V8_COVERAGE: coverage, ...env })
  await gateway.untilPrinted(/Health/)
  gateway.child.kill('SIGTERM')
  await gateway.untilEnded()
  return coveredFiles(coverage)
}

/** The files that Node names in its coverage reports. */
async function coveredFiles(coverage: string): Promise<string[]> {
  const files = (await readdir(coverage)).filter(name => name.startsWith('coverage-'))
  const reports = await Promise.all(files.map(name => readFile(join(coverage, name), 'utf8')))
  return reports
    .flatMap(report => (JSON.parse(report) as { result: { url: string }[] }).result)
    .filter(({ url }) => url.startsWith('file:'))
    .map(({ url }) => relative('.', fileURLToPath(url)))
}

/** Files that a gateway does not need before its first request. */
const UNUSED = [
  /^src\/(cli|client|dashboard)\//,
  /^src\/server\/web\/graphiql-pack\.ts$/,
  /^node_modules\/(mediabunny|pino-pretty|@graphql-yoga\/render-graphiql|preact|uplot)\//,
  // Whole packages of which only parts are used.
  /^node_modules\/undici\/(index\.js|lib\/web\/)/,
  /^node_modules\/rate-limiter-flexible\/index\.js/,
  /^node_modules\/drizzle-orm\/.*\.js$/,
]
const SIMULATOR = /^(src\/simulator|node_modules\/send)\//

describe('a start loads only what is used', () => {
  test('with an account', async () => {
    const files = await loadedFiles(ACCOUNT)
    expect(files).toContain('src/gateway/gateway.ts')
    expect(files).toContain('node_modules/undici/lib/dispatcher/agent.js')
    expect(files.filter(file => [...UNUSED, SIMULATOR].some(pattern => pattern.test(file)))).toEqual([])
  })

  test('on the simulator', async () => {
    const files = await loadedFiles({})
    expect(files).toContain('src/simulator/simulator.ts')
    expect(files.filter(file => UNUSED.some(pattern => pattern.test(file)))).toEqual([])
  })
})

test('the compile cache is filled with all that a start loads', async () => {
  await using folder = await emptyFolder()
  const coverage = join(folder.path, 'coverage')
  await using compile = run('start.js', folder.path, { NODE_V8_COVERAGE: coverage }, ['--compile'])
  await compile.untilEnded()
  const compiled = await coveredFiles(coverage)
  const started = [...(await loadedFiles(ACCOUNT)), ...(await loadedFiles({}))]
  expect(compiled).toContain('src/store/sqlite/sqlite-store.ts')
  expect(started.filter(file => file.startsWith('src/') && !compiled.includes(file))).toEqual([])
})

test('a gateway without requests keeps less than 200 MB resident', async () => {
  await using folder = await emptyFolder()
  await using gateway = run('start.js', folder.path, { PORT: '0', ...ACCOUNT })
  await gateway.untilPrinted(/Health/)
  expect(await readResidentBytes(gateway.child.pid!)).toBeLessThan(200_000_000)
})
