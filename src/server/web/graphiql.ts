/**
 * GraphiQL at the API's own address, for whoever comes with a browser, and the parts it is made of.
 * Invariant: the package's 9 MB never come into this process; what is there for a page is there while somebody asks for it.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createGunzip } from 'node:zlib'
import graphiql from '@graphql-yoga/render-graphiql/package.json' with { type: 'json' }
import { GRAPHQL_PATH } from '../operation/operation.ts'
import { etagOf, isKnown, preferred } from '../responses/content-negotiation.ts'
import { createHeld } from './graphiql-assets.ts'
import { firstTab } from './graphiql-first-tab.ts'
import { renderPage } from './graphiql-page.ts'

export interface Graphiql {
  /** A browser that goes to a page, and no client of the API. */
  isWanted(request: IncomingMessage): boolean
  page(request: IncomingMessage, response: ServerResponse): void
  part(request: IncomingMessage, response: ServerResponse, path: string): Promise<void>
  close(): Promise<void>
}

export interface GraphiqlOptions {
  introspection: boolean
  /** Of the simulator. */
  sampleImage: string | null
  /** How long the parts are held after they were last asked for; a minute. */
  heldMs?: number | undefined
}

export const GRAPHIQL_PARTS = '/assets/graphiql/'
/** A version of the package is published once: what is at its address never changes. */
const PARTS = `${GRAPHIQL_PARTS}${graphiql.version}/`
const FOR_GOOD = 'public, max-age=31536000, immutable'
const PART_ETAG = `"${graphiql.version}"`
const PART_NAME = /^(graphiql|editorWorkerService|graphql|json)\.(js|css)$/
const TYPES = { js: 'text/javascript; charset=utf-8', css: 'text/css; charset=utf-8' }

const PAGE = 'text/html'
const API = ['application/json', 'application/graphql-response+json', 'text/event-stream', 'multipart/mixed']

/** Monaco writes styles of its own, and has its icons in a font within its style. */
const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "worker-src 'self'",
  "style-src 'self' 'unsafe-inline'",
  'font-src data:',
  "img-src 'self' data:",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ')

export function createGraphiql({ introspection, sampleImage, heldMs }: GraphiqlOptions): Graphiql {
  const held = createHeld(heldMs)
  const html = renderPage({ endpoint: GRAPHQL_PATH, parts: PARTS, introspection, tab: firstTab(sampleImage) })
  const htmlEtag = etagOf(html)

  return {
    isWanted: ({ method, headers }) =>
      (method === 'GET' || method === 'HEAD') && preferred(headers.accept, [PAGE, ...API]) === PAGE,

    page(request, response) {
      response.appendHeader('vary', 'Accept')
      const headers = { 'cache-control': 'no-cache', etag: htmlEtag, 'content-security-policy': POLICY }
      if (isKnown(request, htmlEtag)) return void response.writeHead(304, headers).end()
      const length = Buffer.byteLength(html)
      response
        .writeHead(200, { ...headers, 'content-type': `${PAGE}; charset=utf-8`, 'content-length': length })
        .end(html)
    },

    async part(request, response, path) {
      const name = path.startsWith(PARTS) ? path.slice(PARTS.length) : ''
      const [, , kind] = PART_NAME.exec(name) ?? []
      const headers = { 'cache-control': FOR_GOOD, etag: PART_ETAG, vary: 'Accept-Encoding' }
      if (kind !== undefined && isKnown(request, PART_ETAG))
        return void response.writeHead(304, headers).end()
      const packed = kind === undefined ? undefined : (await held.open())[name]
      if (packed === undefined) return void response.writeHead(404).end()
      const isZipped = preferred(request.headers['accept-encoding'], ['gzip']) !== null
      response.writeHead(200, {
        ...headers,
        'content-type': TYPES[kind as keyof typeof TYPES],
        ...(isZipped && { 'content-encoding': 'gzip', 'content-length': packed.length }),
      })
      if (isZipped || request.method === 'HEAD') return void response.end(packed)
      // As it is taken: five megabytes for each who asks and doesn't read would fill the memory.
      await pipeline(Readable.from([packed]), createGunzip(), response).catch(() => response.destroy())
    },

    close: held.close,
  }
}
