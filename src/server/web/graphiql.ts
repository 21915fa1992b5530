/**
 * Serves GraphiQL at the API's own path to browsers, and its assets.
 * Invariant: the package's 9 MB are never loaded into this process. Its assets are in memory only while they
 * are requested.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import graphiql from '@graphql-yoga/render-graphiql/package.json' with { type: 'json' }
import { GRAPHQL_PATH } from '../operation/operation.ts'
import { acceptsGzip, computeEtag, isNotModified, negotiate } from '../responses/content-negotiation.ts'
import { createGraphiqlAssets } from './graphiql-assets.ts'
import { createFirstTab } from './graphiql-first-tab.ts'
import { renderGraphiqlPage } from './graphiql-page.ts'

export interface Graphiql {
  /** Whether a browser navigates to the page. False for clients of the API. */
  isPageRequest(request: IncomingMessage): boolean
  sendPage(request: IncomingMessage, response: ServerResponse): void
  sendAsset(request: IncomingMessage, response: ServerResponse, path: string): Promise<void>
  close(): Promise<void>
}

export interface GraphiqlOptions {
  allowIntrospection: boolean
  /** URL of the simulator's sample image; null with a real account. */
  sampleImage: string | null
  /** Time that the assets stay in memory after the last request (default one minute). */
  assetTtlMs?: number | undefined
}

export const GRAPHIQL_ASSETS_PATH = '/assets/graphiql/'
/** A version of the package never changes, so neither do its assets at this path. */
const VERSIONED_ASSETS_PATH = `${GRAPHIQL_ASSETS_PATH}${graphiql.version}/`
const CACHE_FOREVER = 'public, max-age=31536000, immutable'
const ASSET_ETAG = `"${graphiql.version}"`
const ASSET_NAME = /^(graphiql|editorWorkerService|graphql|json)\.(js|css)$/
const CONTENT_TYPES = { js: 'text/javascript; charset=utf-8', css: 'text/css; charset=utf-8' }

const HTML_TYPE = 'text/html'
const API_TYPES = [
  'application/json',
  'application/graphql-response+json',
  'text/event-stream',
  'multipart/mixed',
]

/** Monaco writes inline styles, and has its icons in a font inside its style sheet. */
const CONTENT_SECURITY_POLICY = [
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

export function createGraphiql({ allowIntrospection, sampleImage, assetTtlMs }: GraphiqlOptions): Graphiql {
  const assets = createGraphiqlAssets(assetTtlMs)
  const html = renderGraphiqlPage({
    endpoint: GRAPHQL_PATH,
    assetsPath: VERSIONED_ASSETS_PATH,
    allowIntrospection,
    tab: createFirstTab(sampleImage),
  })
  const htmlEtag = computeEtag(html)

  return {
    isPageRequest: ({ method, headers }) =>
      (method === 'GET' || method === 'HEAD') &&
      negotiate(headers.accept, [HTML_TYPE, ...API_TYPES]) === HTML_TYPE,

    sendPage(request, response) {
      response.appendHeader('vary', 'Accept')
      const headers = {
        'cache-control': 'no-cache',
        etag: htmlEtag,
        'content-security-policy': CONTENT_SECURITY_POLICY,
      }
      if (isNotModified(request, htmlEtag)) return void response.writeHead(304, headers).end()
      const length = Buffer.byteLength(html)
      response
        .writeHead(200, {
          ...headers,
          'content-type': `${HTML_TYPE}; charset=utf-8`,
          'content-length': length,
        })
        .end(html)
    },

    async sendAsset(request, response, path) {
      const name = path.startsWith(VERSIONED_ASSETS_PATH) ? path.slice(VERSIONED_ASSETS_PATH.length) : ''
      const [, , extension] = ASSET_NAME.exec(name) ?? []
      const headers = { 'cache-control': CACHE_FOREVER, etag: ASSET_ETAG, vary: 'Accept-Encoding' }
      if (extension !== undefined && isNotModified(request, ASSET_ETAG))
        return void response.writeHead(304, headers).end()
      if (extension === undefined) return void response.writeHead(404).end()
      const isCompressed = acceptsGzip(request)
      const body = isCompressed ? (await assets.load())[name] : await assets.loadPlain(name)
      if (body === undefined) return void response.writeHead(404).end()
      response
        .writeHead(200, {
          ...headers,
          'content-type': CONTENT_TYPES[extension as keyof typeof CONTENT_TYPES],
          ...(isCompressed && { 'content-encoding': 'gzip' }),
          'content-length': body.length,
        })
        .end(body)
    },

    close: assets.close,
  }
}
