import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { gunzipSync, gzip } from 'node:zlib'
import { request } from 'undici'
import { expect, test, vi } from 'vitest'
import { stripTypes } from '../../../src/server/web/strip-types.ts'
import { type Harness, startGateway } from '../../support/gateway.ts'

// The real modules; a test counts their calls.
vi.mock('node:zlib', { spy: true })
vi.mock('../../../src/server/web/strip-types.ts', { spy: true })

const SOURCES = 'src/dashboard'
const files = readdirSync(SOURCES)

async function read(harness: Harness, path: string) {
  const response = await harness.fetch(path)
  return { status: response.status, headers: response.headers, text: await response.text() }
}

/** Paths of the scripts, styles and images of a page. */
const linksIn = (html: string) => [...html.matchAll(/(?:src|href)="(\/[^"]+)"/g)].map(match => match[1]!)
const importsOf = (script: string) =>
  [...script.matchAll(/(?:^|;)(?:import|export)(?:[^'";()=]*\bfrom)?\s*["']([^"'\s]+)["']/gm)].map(
    match => match[1]!,
  )

test('every file that the pages and their scripts refer to is served by the gateway', async () => {
  await using harness = await startGateway()
  const { text: page } = await read(harness, '/')
  const map = JSON.parse(/<script type="importmap">(.*?)<\/script>/.exec(page)![1]!).imports
  const graphiql = await harness.fetch('/graphql', { headers: { accept: 'text/html' } })
  const seen = new Map<string, string>()
  const waiting = [...linksIn(page), ...linksIn(await graphiql.text())]
  for (let path = waiting.pop(); path !== undefined; path = waiting.pop()) {
    if (seen.has(path)) continue
    const { status, headers, text } = await read(harness, path)
    expect([path, status]).toEqual([path, 200])
    seen.set(path, headers.get('content-type')!)
    if (!/\.(ts|m?js)$/.test(path) || path.includes('/graphiql/')) continue
    for (const name of importsOf(text)) {
      const target = name.startsWith('.') ? new URL(name, `http://x${path}`).pathname : map[name]
      expect([path, name, typeof target]).toEqual([path, name, 'string'])
      waiting.push(target)
    }
  }
  const scripts = [...seen].filter(([path]) => /\.(ts|m?js)$/.test(path))
  expect(new Set(scripts.map(([, type]) => type))).toEqual(new Set(['text/javascript; charset=utf-8']))
  // No file of the dashboard is unused.
  const served = new Set([...seen.keys()].map(path => path.replace('/assets/dashboard/', '')))
  expect(files.filter(file => !served.has(file))).toEqual(['index.html', 'tsconfig.json'])
})

test('no file of the dashboard refers to another host', () => {
  const named = files.flatMap(file =>
    [...readFileSync(`${SOURCES}/${file}`, 'utf8').matchAll(/https?:\/\/[\w.-]+\w/g)].map(match => [
      file,
      match[0],
    ]),
  )
  expect(named).toEqual([['icon.svg', 'http://www.w3.org']])
})

test('the page may only run scripts of the gateway, and must not be framed', async () => {
  await using harness = await startGateway()
  const { headers, text } = await read(harness, '/')
  const policy = new Map(
    headers
      .get('content-security-policy')!
      .split('; ')
      .map(part => [part.slice(0, part.indexOf(' ')), part.slice(part.indexOf(' ') + 1)]),
  )
  const map = /<script type="importmap">(.*?)<\/script>/.exec(text)![1]!
  const hash = createHash('sha256').update(map).digest('base64')
  expect(policy.get('default-src')).toBe("'none'")
  expect(policy.get('script-src')).toBe(`'self' 'sha256-${hash}'`)
  expect(policy.get('style-src')).toBe("'self'")
  expect(policy.get('connect-src')).toBe("'self'")
  expect(policy.get('frame-ancestors')).toBe("'none'")
  expect(headers.get('x-content-type-options')).toBe('nosniff')
  expect(headers.get('referrer-policy')).toBe('no-referrer')
  // A script is not a page.
  const script = await read(harness, '/assets/dashboard/main.ts')
  expect(script.headers.get('content-security-policy')).toContain("default-src 'none'")
})

test.each([
  '/',
  '/assets/dashboard/dashboard-state.ts',
  '/assets/dashboard/base.css',
  '/assets/lib/preact/dist/preact.mjs',
])('%s is sent again only if it has changed, and HEAD has its size', async path => {
  await using harness = await startGateway()
  const { status, headers, text } = await read(harness, path)
  expect(status).toBe(200)
  const etag = headers.get('etag')!
  const again = await harness.fetch(path, { headers: { 'if-none-match': etag } })
  expect([again.status, await again.text()]).toEqual([304, ''])
  expect((await harness.fetch(path, { headers: { 'if-none-match': '"another"' } })).status).toBe(200)
  for (const known of [`W/${etag}`, `"x", ${etag}`, '*'])
    expect((await harness.fetch(path, { headers: { 'if-none-match': known } })).status).toBe(304)
  const plain = { 'accept-encoding': 'identity' }
  const head = await harness.fetch(path, { method: 'HEAD', headers: plain })
  expect(head.headers.get('content-length')).toBe(String(Buffer.byteLength(text)))
  const packed = await request(`${harness.gateway.url}${path}`, { headers: { 'accept-encoding': 'gzip' } })
  expect(packed.headers).toMatchObject({ 'content-encoding': 'gzip', vary: 'Accept-Encoding' })
  expect(gunzipSync(await packed.body.bytes()).toString()).toBe(text)
  expect(await head.text()).toBe('')
})

test('a file is read and packed once, whatever requests ask for it', async () => {
  await using harness = await startGateway()
  const path = '/assets/dashboard/prediction-list.ts'
  vi.mocked(gzip).mockClear()
  vi.mocked(stripTypes).mockClear()
  const headers: Record<string, string>[] = [
    { 'accept-encoding': 'gzip' },
    { 'accept-encoding': 'gzip;q=0.1, identity;q=0' },
    { 'accept-encoding': 'identity' },
    { 'accept-encoding': '*' },
    { 'accept-encoding': ','.repeat(10_000) },
    { 'accept-encoding': '' },
    { range: 'bytes=0-0' },
    { 'if-none-match': '"another"' },
    { 'if-modified-since': new Date(0).toUTCString() },
    { 'cache-control': 'no-cache', pragma: 'no-cache' },
  ]
  const statuses = await Promise.all(
    headers.flatMap((each, i) =>
      ['GET', 'HEAD'].map(async method => {
        const response = await harness.fetch(`${path}?n=${i}`, { method, headers: each })
        await response.text()
        return response.status
      }),
    ),
  )
  expect(new Set(statuses)).toEqual(new Set([200]))
  expect([vi.mocked(gzip).mock.calls.length, vi.mocked(stripTypes).mock.calls.length]).toEqual([1, 1])
})

test('a path that names no file keeps nothing and packs nothing', async () => {
  await using harness = await startGateway()
  vi.mocked(gzip).mockClear()
  for (let i = 0; i < 50; i++)
    expect((await harness.fetch(`/assets/dashboard/nothing-${i}.ts`)).status).toBe(404)
  expect(vi.mocked(gzip)).not.toHaveBeenCalled()
})

test('scripts are sent without their types, and without a warning of Node', async () => {
  await using harness = await startGateway()
  const warned: Error[] = []
  const listen = (warning: Error) => warned.push(warning)
  process.on('warning', listen)
  const { text } = await read(harness, '/assets/dashboard/prediction-list.ts')
  await new Promise(resolve => setImmediate(resolve))
  process.off('warning', listen)
  expect(text).not.toMatch(/export type|interface /)
  expect(warned).toEqual([])
})

test.each([
  '/assets',
  '/assets/',
  '/assets/dashboard/',
  '/assets/dashboard/nothing.ts',
  '/assets/dashboard/tsconfig.json',
  '/assets/dashboard/..%2f..%2fpackage.json',
  '/assets/dashboard/%2e%2e/main.ts',
  '/assets/client/../main.ts',
  '/assets/server/http/http-server.ts',
  '/assets/lib/pino/pino.js',
  '/assets/lib/preact/package.json',
  '/assets/lib/preact/..%2fpino/pino.js',
  '/index.html',
])('%s gets a 404', async path => {
  await using harness = await startGateway()
  const { status, text } = await read(harness, path)
  expect([status, text]).toEqual([
    404,
    'There is nothing here. The dashboard is at /, the API at /graphql.\n',
  ])
})
