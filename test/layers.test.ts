import { globSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { expect, test } from 'vitest'

/** The layers: an import only steps down, and folders of one layer do not import each other. */
const LAYERS = [
  ['domain', 'runtime', 'client'],
  ['config', 'store', 'upstream', 'image-fetch', 'dashboard'],
  ['events', 'observability'],
  ['auth', 'workers'],
  ['graphql'],
  ['subscriptions'],
  ['server'],
  ['gateway'],
  ['main.ts', 'cli'],
  ['start.js'],
]
/** The layers inside src/server. */
const SERVER_LAYERS = [
  ['limits', 'responses'],
  ['uploads'],
  ['operation'],
  ['transports', 'web'],
  ['http'],
  ['server.ts'],
]
/** The simulator imports nothing of the gateway. Only these folders may import it. */
const SIMULATOR = 'simulator'
const SIMULATOR_IMPORTERS = ['start.js', 'gateway', 'cli']

const files = globSync('src/**/*.{ts,js,mts,mjs,tsx,jsx}').map(normalize)
const partOf = (file: string, depth: number) => file.split('/')[depth]!
const layerOf = (layers: string[][], part: string) => layers.findIndex(layer => layer.includes(part))

/**
 * Every string that names a source file by a relative path: static and dynamic imports, `require`, `new URL`. Imports of
 * types count, since a circle of types makes both files harder to read.
 */
const specifiersIn = (source: string): string[] =>
  [...source.matchAll(/(['"`])(\.{1,2}\/[^'"`\s]+\.(?:[cm]?[jt]sx?))\1/g)].map(match => match[2]!)

const importsOf = (file: string) =>
  specifiersIn(readFileSync(file, 'utf8')).map(specifier => normalize(join(dirname(file), specifier)))
const imports = files.flatMap(file => importsOf(file).map(target => ({ file, target })))

/** The imports that leave their part of the tree. */
const crossings = (candidates: typeof imports, depth: number) =>
  candidates
    .map(({ file, target }) => ({ file, target, from: partOf(file, depth), to: partOf(target, depth) }))
    .filter(({ from, to }) => from !== to)

const outer = crossings(imports, 1)
const inServer = crossings(
  imports.filter(({ file, target }) => [file, target].every(path => path.startsWith('src/server/'))),
  2,
)

test.each([
  ["import { a } from './a.ts'"],
  ["import type { A } from './a.ts'"],
  ["export { a } from './a.ts'"],
  ["import './a.ts'"],
  ["await import(\n  './a.ts',\n)"],
  ["await import(/* webpack */ './a.ts')"],
  ["type A = import('./a.ts').A"],
  ["createRequire(import.meta.url)('./a.ts')"],
  ["new URL('./a.ts', import.meta.url)"],
  ['import "./a.ts"'],
  ['await import(`./a.ts`)'],
])('an import is seen in %j', source => {
  expect(specifiersIn(source)).toEqual(['./a.ts'])
})

test('every import names a file of src by a literal', () => {
  expect(imports.filter(({ target }) => !files.includes(target))).toEqual([])
  const computed = files.filter(file =>
    /\bimport\(\s*(?!\s|['"`/])|\bimport\(\s*`[^`]*\$\{/.test(readFileSync(file, 'utf8')),
  )
  expect(computed).toEqual([])
})

test('every folder of src has a layer', () => {
  const folders = new Set(files.map(file => partOf(file, 1)))
  expect([...folders].filter(folder => folder !== SIMULATOR && layerOf(LAYERS, folder) === -1)).toEqual([])
  const parts = files.filter(file => file.startsWith('src/server/')).map(file => partOf(file, 2))
  expect([...new Set(parts)].filter(part => layerOf(SERVER_LAYERS, part) === -1)).toEqual([])
  expect(outer.length).toBeGreaterThan(50)
  expect(inServer.length).toBeGreaterThan(20)
})

test('an import only steps down', () => {
  const wrong = outer.filter(
    ({ from, to }) => from !== SIMULATOR && to !== SIMULATOR && layerOf(LAYERS, to) >= layerOf(LAYERS, from),
  )
  expect(wrong).toEqual([])
})

test('an import inside src/server only steps down', () => {
  const wrong = inServer.filter(({ from, to }) => layerOf(SERVER_LAYERS, to) >= layerOf(SERVER_LAYERS, from))
  expect(wrong).toEqual([])
})

test('no file imports itself, directly or through others', () => {
  const targets = Map.groupBy(imports, ({ file }) => file)
  const done = new Set<string>()
  const circles: string[][] = []
  function visit(file: string, path: string[]): void {
    const start = path.indexOf(file)
    if (start >= 0) circles.push([...path.slice(start), file])
    if (start >= 0 || done.has(file)) return
    for (const { target } of targets.get(file) ?? []) visit(target, [...path, file])
    done.add(file)
  }
  for (const file of files) visit(file, [])
  expect(circles).toEqual([])
})

test('the simulator imports nothing of the gateway, and only its listed users import it', () => {
  const wrong = outer.filter(
    ({ from, to }) => from === SIMULATOR || (to === SIMULATOR && !SIMULATOR_IMPORTERS.includes(from)),
  )
  expect(wrong).toEqual([])
})

test('graphql imports neither workers nor upstream', () => {
  expect(outer.filter(({ from, to }) => from === 'graphql' && ['workers', 'upstream'].includes(to))).toEqual(
    [],
  )
})

test('of the gateway the dashboard imports only the client, since a browser has nothing else', () => {
  const folders = outer.filter(({ from }) => from === 'dashboard').map(({ to }) => to)
  expect(new Set(folders)).toEqual(new Set(['client']))
  expect(outer.filter(({ to }) => to === 'dashboard')).toEqual([])
})

test('the client imports nothing, so that it can be copied', () => {
  const client = files.filter(file => partOf(file, 1) === 'client')
  expect(client.filter(file => /^import|\bimport\(/m.test(readFileSync(file, 'utf8')))).toEqual([])
  expect(client).toHaveLength(1)
})

test('only open-store.ts chooses an engine of the store, and loads none that is not used', () => {
  const engine = (file: string) => /^src\/store\/([\w-]+)\//.exec(file)?.[1]
  const users = imports.filter(({ file, target }) => engine(target) && engine(file) !== engine(target))
  expect(users).toEqual(
    ['sqlite-store', 'backup'].map(name => ({
      file: 'src/store/open-store.ts',
      target: `src/store/sqlite/${name}.ts`,
    })),
  )
  const opener = readFileSync('src/store/open-store.ts', 'utf8')
  expect(opener.match(/^import .*from '\.\/[\w-]+\/.*$/gm)).toBeNull()
})

test('one fair scheduler serves the process: reads and deliveries of one loop iteration share a slice', () => {
  const makers = files.filter(
    file => !file.startsWith('src/runtime/') && /\bcreateFairScheduler\(/.test(readFileSync(file, 'utf8')),
  )
  expect(makers).toEqual(['src/server/server.ts'])
  expect(readFileSync('src/server/server.ts', 'utf8').match(/createFairScheduler\(/g)).toHaveLength(1)
})

test('only an engine imports its database', () => {
  const database = /'(better-sqlite3|drizzle-orm[^']*)'/
  const wrong = files.filter(file => database.test(readFileSync(file, 'utf8')))
  expect(wrong.filter(file => !/^src\/(store\/sqlite|simulator)\//.test(file))).toEqual([])
})

/** Tests outside of test/store/sqlite that know SQLite, and why. Every other test asks a `Store`. */
const SQLITE_TESTS = {
  'test/bench/fair/seeded-store.ts': 'seeds rows',
  'test/bench/requests/rows.ts': 'is measured against the gateway: its rows, read directly',
  'test/bench/requests/seed.ts': 'seeds rows',
  'test/bench/scale/seed.ts': 'seeds rows',
  'test/bench/start/seed.ts': 'seeds rows',
  'test/campaigns/connections/gateway-database.ts':
    'judges the file of a gateway that is killed, without its code',
  'test/campaigns/isolation/scenario.ts': 'compares every row of an app before and after',
  'test/campaigns/money/gateway-database.ts': 'judges the file of a gateway that is killed, without its code',
  'test/cli/app/app-command.test.ts': 'the file is locked, of another program, or not changed',
  'test/e2e/database-outage.test.ts': 'the file is moved away, or locked by another process',
  'test/e2e/idempotency.test.ts': 'kills a gateway as soon as its file has the row',
  'test/e2e/process.test.ts': 'the file of a gateway in its own process',
  'test/e2e/workers.test.ts': "the simulator's file",
  'test/simulator/simulator.test.ts': "the simulator's file",
  'test/support/database-file.ts': 'reads a file for these',
  'test/support/engines.ts': 'lists the engines',
  'test/support/trips/boundaries.ts': 'sees the commit with which the trip of an event starts',
}

test('a test outside of test/store/sqlite does not know SQLite, but for a few with a reason', () => {
  const isOfSqlite = (target: string) =>
    /^(src|test)\/store\/sqlite\//.test(target) || target === 'test/support/database-file.ts'
  const found = globSync('test/**/*.ts')
    .map(normalize)
    .filter(file => !file.startsWith('test/store/sqlite/'))
    .filter(
      file => /\bfrom 'better-sqlite3'/.test(readFileSync(file, 'utf8')) || importsOf(file).some(isOfSqlite),
    )
  expect(found.toSorted()).toEqual(Object.keys(SQLITE_TESTS))
})

test('Drizzle is loaded only from its CommonJS build', () => {
  const linked = /^import (?!type\b)[^']*'drizzle-orm[^']*'/m
  const tests = globSync('test/**/*.ts')
  expect([...files, ...tests].filter(file => linked.test(readFileSync(file, 'utf8')))).toEqual([])
})

test('no callback of a transaction is async', () => {
  const wrong = files.filter(file => /\.transaction\(\s*async\b/.test(readFileSync(file, 'utf8')))
  expect(wrong).toEqual([])
})
