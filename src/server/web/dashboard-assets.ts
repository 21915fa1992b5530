/**
 * Serves the dashboard at `/`: its own files, and its libraries from their packages.
 * Invariant: only files that are named here are served, each read when it is requested. Nothing comes from
 * another host.
 */
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { findPackageJSON } from 'node:module'
import { dirname, extname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import { acceptsGzip, computeEtag, isNotModified } from '../responses/content-negotiation.ts'
import { stripTypes } from './strip-types.ts'

/** Returns false, without a response, if the path is not one of the dashboard's. */
export type DashboardAssets = (
  request: IncomingMessage,
  response: ServerResponse,
  path: string,
) => Promise<boolean>

/** Import name of a script -> package, and the file in it that a browser can run. */
const LIBRARIES: Record<string, [name: string, file: string]> = {
  preact: ['preact', 'dist/preact.mjs'],
  'preact/hooks': ['preact', 'hooks/dist/hooks.mjs'],
  htm: ['htm', 'dist/htm.mjs'],
  'htm/preact': ['htm', 'preact/index.mjs'],
  'graphql-ws': ['graphql-ws', 'dist/client.js'],
  uplot: ['uplot', 'dist/uPlot.esm.js'],
}
const SOURCE_ROOT = fileURLToPath(new URL('../..', import.meta.url))
const INDEX_HTML = join(SOURCE_ROOT, 'dashboard', 'index.html')

const CONTENT_TYPES: Record<string, string> = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.js': 'text/javascript; charset=utf-8',
  '.mjs': 'text/javascript; charset=utf-8',
  '.ts': 'text/javascript; charset=utf-8',
}

const IMPORT_MAP = JSON.stringify({
  imports: Object.fromEntries(
    Object.entries(LIBRARIES).map(([name, [library, file]]) => [name, `/assets/lib/${library}/${file}`]),
  ),
})

/** Images and videos may come from any host. Everything else comes from the gateway. */
const CONTENT_SECURITY_POLICY = [
  "default-src 'none'",
  `script-src 'self' 'sha256-${createHash('sha256').update(IMPORT_MAP).digest('base64')}'`,
  "style-src 'self'",
  "connect-src 'self'",
  'img-src http: https: data: blob:',
  'media-src http: https:',
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ')

const gzipAsync = promisify(gzip)

export function createDashboardAssets(): DashboardAssets {
  return async (request, response, path) => {
    const file = resolveFile(path)
    if (file === null) return false
    const body = await readAsset(file).catch(nullIfMissing)
    if (body === null) return false
    const etag = computeEtag(body)
    // Cached but revalidated each time, so that a page never mixes two versions.
    response.setHeader('cache-control', 'no-cache')
    response.setHeader('etag', etag)
    response.setHeader('vary', 'Accept-Encoding')
    if (file === INDEX_HTML) response.setHeader('content-security-policy', CONTENT_SECURITY_POLICY)
    if (isNotModified(request, etag)) {
      response.writeHead(304).end()
      return true
    }
    response.setHeader('content-type', CONTENT_TYPES[extname(file)]!)
    const isCompressed = acceptsGzip(request)
    const encoded = isCompressed ? await gzipAsync(body) : Buffer.from(body)
    if (isCompressed) response.setHeader('content-encoding', 'gzip')
    response.writeHead(200, { 'content-length': encoded.length }).end(encoded)
    return true
  }
}

function resolveFile(path: string): string | null {
  if (path === '/') return INDEX_HTML
  const ownFile = /^\/assets\/(dashboard\/[\w-]+\.(?:ts|css|svg)|client\/[\w-]+\.ts)$/.exec(path)?.[1]
  if (ownFile !== undefined) return join(SOURCE_ROOT, ownFile)
  const [, name = '', file = ''] =
    /^\/assets\/lib\/([\w-]+)\/((?:[\w-]+\/)*[\w.-]+\.(?:js|mjs|css))$/.exec(path) ?? []
  const packageJson = PACKAGES.has(name) ? findPackageJSON(name, import.meta.url) : undefined
  return packageJson === undefined ? null : join(dirname(packageJson), file)
}

function nullIfMissing(error: NodeJS.ErrnoException): null {
  if (error.code === 'ENOENT') return null
  throw error
}

const PACKAGES = new Set(Object.values(LIBRARIES).map(([name]) => name))

async function readAsset(file: string): Promise<string> {
  const text = await readFile(file, 'utf8')
  if (file.endsWith('.ts')) return stripTypes(text)
  return file === INDEX_HTML
    ? text.replace('<!-- libraries -->', `<script type="importmap">${IMPORT_MAP}</script>`)
    : text
}
