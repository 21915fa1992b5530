import { globSync, readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { buildSchema, coerceInputValue, type GraphQLInputObjectType, parse, validate } from 'graphql'
import { request } from 'undici'
import { expect, test } from 'vitest'
import { createGraphiqlAssets } from '../../../src/server/web/graphiql-assets.ts'
import { createFirstTab } from '../../../src/server/web/graphiql-first-tab.ts'
import { startGateway } from '../../support/gateway.ts'
import { emptyFolder, run } from '../../support/process.ts'
import { until } from '../../support/until.ts'

/** Accept header of Chromium when it navigates to a page. */
const BROWSER = 'text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8'
const accept = (value: string) => ({ headers: { accept: value } })

const PACK = join('src', 'server', 'web', 'graphiql-pack.ts')

/** Path of the assets, from the page. */
const assetsPathIn = (html: string) => /"assetsPath":"([^"]+)"/.exec(html)![1]!

test('a browser gets GraphiQL where clients get the API', async () => {
  await using gateway = await startGateway()
  const page = await gateway.fetch('/graphql', accept(BROWSER))
  expect(page.status).toBe(200)
  expect(page.headers.get('content-type')).toBe('text/html; charset=utf-8')
  const html = await page.text()
  expect(html).toContain('<title>Rushes · GraphiQL</title>')
  expect(html).not.toContain(gateway.key)
  expect(html.length).toBeLessThan(20_000)
})

test.each([
  'application/json',
  'application/graphql-response+json, application/json;q=0.9',
  'application/json, text/html',
  'text/html;q=0.5, application/json',
  'text/html;q=0',
  'text/event-stream',
  '*/*',
])('a GET that prefers %s is answered by the API', async wanted => {
  await using gateway = await startGateway()
  const answer = await gateway.fetch('/graphql?query={__typename}', accept(wanted))
  expect(answer.status).toBe(401)
  expect(answer.headers.get('content-security-policy')).toBe("default-src 'none'; frame-ancestors 'none'")
})

test('a POST is answered by the API, whatever it prefers', async () => {
  await using gateway = await startGateway()
  const answer = await gateway.fetch('/graphql', { method: 'POST', ...accept(BROWSER) })
  expect(answer.status).toBe(401)
})

test('a HEAD has the headers of the page, and no body', async () => {
  await using gateway = await startGateway()
  const [page, head] = await Promise.all(
    ['GET', 'HEAD'].map(method => gateway.fetch('/graphql', { method, ...accept(BROWSER) })),
  )
  const named = (response: typeof page) =>
    Object.fromEntries([...response!.headers].filter(([name]) => name !== 'date'))
  expect(head!.status).toBe(200)
  expect(named(head)).toEqual(named(page))
  expect(await head!.text()).toBe('')
})

test('the page allows scripts of its own origin, no other host, no frame and no form', async () => {
  await using gateway = await startGateway()
  const { headers } = await gateway.fetch('/graphql', accept(BROWSER))
  const policy = headers.get('content-security-policy')!.split('; ')
  expect(policy).toContain("default-src 'none'")
  expect(policy).toContain("connect-src 'self'")
  expect(policy).toContain("frame-ancestors 'none'")
  expect(policy).toContain("form-action 'none'")
  expect(policy).toContain("script-src 'self'")
  expect(headers.get('x-content-type-options')).toBe('nosniff')
})

test('a page that the browser has cached is not sent again', async () => {
  await using gateway = await startGateway()
  const first = await gateway.fetch('/graphql', accept(BROWSER))
  expect(first.headers.get('cache-control')).toBe('no-cache')
  expect(first.headers.get('vary')).toBe('Accept')
  const again = await gateway.fetch('/graphql', {
    headers: { accept: BROWSER, 'if-none-match': first.headers.get('etag')! },
  })
  expect([again.status, await again.text()]).toEqual([304, ''])
})

test('assets are cached for good, and sent compressed to clients that accept it', async () => {
  await using gateway = await startGateway()
  const assetsPath = assetsPathIn(await (await gateway.fetch('/graphql', accept(BROWSER))).text())
  for (const name of ['graphiql.js', 'graphiql.css', 'editorWorkerService.js', 'graphql.js', 'json.js']) {
    // Undici's request, because its fetch would decompress.
    const url = `${gateway.gateway.url}${assetsPath}${name}`
    const packed = await request(url, { headers: { 'accept-encoding': 'gzip, br' } })
    expect(packed.headers).toMatchObject({
      'cache-control': 'public, max-age=31536000, immutable',
      'content-encoding': 'gzip',
      'content-type': name.endsWith('.css') ? 'text/css; charset=utf-8' : 'text/javascript; charset=utf-8',
      vary: 'Accept-Encoding',
    })
    const plain = await request(url)
    expect(plain.headers['content-encoding']).toBeUndefined()
    const text = await plain.body.text()
    expect(text.length).toBeGreaterThan(400_000)
    expect(gunzipSync(await packed.body.bytes()).toString()).toBe(text)
    const known = await request(url, { headers: { 'if-none-match': `W/${packed.headers.etag}` } })
    expect([known.statusCode, await known.body.text()]).toEqual([304, ''])
  }
})

test('uncompressed assets that are not read cost almost no memory', async () => {
  await using gateway = await startGateway()
  const assetsPath = assetsPathIn(await (await gateway.fetch('/graphql', accept(BROWSER))).text())
  const { port } = new URL(gateway.gateway.url)
  const sockets = Array.from({ length: 40 }, () => connect(Number(port), '127.0.0.1').pause())
  const written = () => sockets.filter(socket => socket.bytesWritten > 0).length
  for (const socket of sockets) socket.write(`GET ${assetsPath}graphiql.js HTTP/1.1\r\nHost: x\r\n\r\n`)
  await until(() => written() === sockets.length)
  // Answered while the forty wait, each of which would cost five megabytes.
  await request(`${gateway.gateway.url}${assetsPath}json.js`).then(({ body }) => body.dump())
  expect(process.memoryUsage().arrayBuffers).toBeLessThan(60 * 1024 * 1024)
  for (const socket of sockets) socket.destroy()
})

test.each(['nothing.js', '../graphiql.js', 'constructor', ''])('there is no asset %j', async name => {
  await using gateway = await startGateway()
  const assetsPath = assetsPathIn(await (await gateway.fetch('/graphql', accept(BROWSER))).text())
  const { statusCode, body } = await request(`${gateway.gateway.url}${assetsPath}${name}`)
  await body.dump()
  expect(statusCode).toBe(404)
})

test('the page says when introspection is off', async () => {
  const pageText = async (allowIntrospection: string) => {
    await using gateway = await startGateway({ env: { ALLOW_INTROSPECTION: allowIntrospection } })
    return (await gateway.fetch('/graphql', accept(BROWSER))).text()
  }
  expect(await pageText('1')).not.toContain('ALLOW_INTROSPECTION')
  expect(await pageText('0')).toContain('ALLOW_INTROSPECTION=1')
})

test.each([null, 'http://127.0.0.1:1/files/sample.jpg'])(
  'the first tab is valid, with the image %s',
  image => {
    const schema = buildSchema(readFileSync('schema.graphql', 'utf8'))
    const { query, variables } = createFirstTab(image)
    expect(validate(schema, parse(query))).toEqual([])
    const input = schema.getType('SubmitVideoInput') as GraphQLInputObjectType
    expect(coerceInputValue(variables.input, input)).toMatchObject(variables.input)
    // Without a sample image (a real account) the host does not exist, so a submit of the unchanged tab is not charged.
    expect(variables.input.image.url).toBe(image ?? 'https://images.example/first-frame.jpg')
  },
)

test('concurrent requests share one child process, and a request after the time to live starts another', async () => {
  const assetCache = createGraphiqlAssets(1)
  const [first, second] = await Promise.all([assetCache.load(), assetCache.load()])
  expect(second).toBe(first)
  await until(async () => (await assetCache.load()) !== first)
  await assetCache.close()
})

test('cached assets are shared by all requests', async () => {
  const assetCache = createGraphiqlAssets()
  expect(await assetCache.load()).toBe(await assetCache.load())
  await assetCache.close()
})

test('only the packing process imports the package, and no file imports that process', () => {
  const importers = (pattern: RegExp) =>
    globSync('src/**/*.ts').filter(file => pattern.test(readFileSync(file, 'utf8')))
  expect(importers(/from '@graphql-yoga\/render-graphiql(\/graphiql)?'/)).toEqual([PACK])
  expect(importers(/(from|import|import\() ?'[^']*\/graphiql-pack\.ts'/)).toEqual([])
})

test('a gateway that has served GraphiQL prints no warning on stderr', async () => {
  await using folder = await emptyFolder()
  const env = { PORT: '0', DATABASE_URL: `file:${folder.path}/rushes.db` }
  await using gateway = run('start.js', folder.path, env)
  const [, endpoint] = await gateway.untilPrinted(/GraphQL +(\S+)/)
  const page = await request(endpoint!, accept(BROWSER))
  expect(await page.body.text()).toContain('GraphiQL')
  gateway.child.kill('SIGTERM')
  expect(await gateway.untilEnded()).toMatchObject({ code: 0 })
  const lines = gateway.err.split('\n').filter(line => !line.startsWith('{"level":30,'))
  expect(lines).toEqual([''])
})
