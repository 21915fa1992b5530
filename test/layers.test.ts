import { globSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { expect, test } from 'vitest'

/** The stair: an import only steps down, and rooms on one step do not meet. */
const STAIR = [
  [
    'models.ts',
    'image.ts',
    'errors.ts',
    'did-you-mean.ts',
    'fairness.ts',
    'key.ts',
    'log.ts',
    'pause.ts',
    'settings.ts',
    'upload-address.ts',
    'web-url.ts',
    'webhook-address.ts',
    'client',
  ],
  ['limits.ts', 'prediction.ts', 'dashboard'],
  ['decisions.ts', 'filter.ts', 'scope.ts', 'upload.ts'],
  ['token.ts'],
  ['config.ts', 'upstream', 'store'],
  ['events'],
  ['graphql', 'workers'],
  ['server'],
  ['gateway.ts'],
  ['main.ts', 'cli'],
  ['start.js'],
]
/** A house of its own: who may go in, and nothing of the gateway comes out. */
const SIMULATOR = 'simulator'
const SIMULATOR_GUESTS = ['start.js', 'gateway.ts', 'cli']

const files = globSync('src/**/*.{ts,js}').map(normalize)
const roomOf = (file: string) => file.split('/')[1]!
const stepOf = (room: string) => STAIR.findIndex(step => step.includes(room))
const importsOf = (file: string) =>
  [...readFileSync(file, 'utf8').matchAll(/(?:from|import|import\() ?'(\.[^']+)'/g)].map(match =>
    normalize(join(dirname(file), match[1]!)),
  )

const crossings = files.flatMap(file =>
  importsOf(file)
    .filter(target => roomOf(target) !== roomOf(file))
    .map(target => ({ file, from: roomOf(file), to: roomOf(target) })),
)

test('every room has its step', () => {
  const rooms = new Set(files.map(roomOf))
  expect([...rooms].filter(room => room !== SIMULATOR && stepOf(room) === -1)).toEqual([])
  expect(crossings.length).toBeGreaterThan(50)
})

test('an import only steps down', () => {
  const wrong = crossings.filter(
    ({ from, to }) => from !== SIMULATOR && to !== SIMULATOR && stepOf(to) >= stepOf(from),
  )
  expect(wrong).toEqual([])
})

test('the simulator imports nothing of the gateway, and only its guests import it', () => {
  const wrong = crossings.filter(
    ({ from, to }) => from === SIMULATOR || (to === SIMULATOR && !SIMULATOR_GUESTS.includes(from)),
  )
  expect(wrong).toEqual([])
})

test('graphql reaches neither workers nor upstream', () => {
  expect(
    crossings.filter(({ from, to }) => from === 'graphql' && ['workers', 'upstream'].includes(to)),
  ).toEqual([])
})

test('the dashboard imports of the gateway only the client, for a browser has nothing else', () => {
  const rooms = crossings.filter(({ from }) => from === 'dashboard').map(({ to }) => to)
  expect(rooms).toContain('client')
  expect(new Set(rooms)).toEqual(new Set(['client']))
  expect(crossings.filter(({ to }) => to === 'dashboard')).toEqual([])
})

test('the client imports nothing, so that it can be copied', () => {
  const client = files.filter(file => roomOf(file) === 'client')
  expect(client.filter(file => /^import|\bimport\(/m.test(readFileSync(file, 'utf8')))).toEqual([])
  expect(client).toHaveLength(1)
})

test('only the engine knows its engine', () => {
  const engine = /'(better-sqlite3|drizzle-orm[^']*)'/
  const wrong = files.filter(file => engine.test(readFileSync(file, 'utf8')))
  expect(wrong.filter(file => !/^src\/(store\/sqlite|simulator)\//.test(file))).toEqual([])
})

test('Drizzle is one build, and not the large one', () => {
  const linked = /^import (?!type\b)[^']*'drizzle-orm[^']*'/m
  const tests = globSync('test/**/*.ts')
  expect([...files, ...tests].filter(file => linked.test(readFileSync(file, 'utf8')))).toEqual([])
})

test('no callback of a transaction is async', () => {
  const wrong = files.filter(file => /\.transaction\(\s*async\b/.test(readFileSync(file, 'utf8')))
  expect(wrong).toEqual([])
})
