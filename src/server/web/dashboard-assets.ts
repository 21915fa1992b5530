/**
 * Serves the dashboard at `/`: its own files, and its libraries from their packages.
 * Invariant: only files that are named here are served. Each is read and packed at its first request, and again only if it
 * has changed: requests need no key. Nothing comes from another host.
 */
import { createHash } from 'node:crypto'
import { readFile, stat } from 'node:fs/promises'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { findPackageJSON } from 'node:module'
import { dirname, extname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import { LRUCache } from 'lru-cache'
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
const PACKAGE_FOLDERS: ReadonlyMap<string, string> = new Map(
  Object.values(LIBRARIES).map(([name]) => [name, dirname(findPackageJSON(name, import.meta.url)!)]),
)
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

/** A file as it is sent. */
interface Asset {
  /** Of the file that was read. */
  modifiedAt: number
  etag: string
  plain: Buffer
  packed: Buffer
}

/** All files together have 1.3 MB, packed and not packed. */
const MAX_CACHED_BYTES = 4 * 1024 * 1024

export function createDashboardAssets(): DashboardAssets {
  const assets = new LRUCache<string, Asset>({
    maxSize: MAX_CACHED_BYTES,
    sizeCalculation: ({ plain, packed }) => plain.length + packed.length,
  })
  /** Files that are being read: requests at the same time share one reading. */
  const pending = new Map<string, Promise<Asset>>()

  async function readAsset(file: string, modifiedAt: number): Promise<Asset> {
    const plain = Buffer.from(await readContent(file))
    const asset = { modifiedAt, etag: computeEtag(plain), plain, packed: await gzipAsync(plain) }
    assets.set(file, asset)
    return asset
  }

  async function loadAsset(file: string): Promise<Asset> {
    const { mtimeMs: modifiedAt } = await stat(file)
    const cached = assets.get(file)
    if (cached?.modifiedAt === modifiedAt) return cached
    let reading = pending.get(file)
    if (reading === undefined) {
      reading = readAsset(file, modifiedAt).finally(() => pending.delete(file))
      pending.set(file, reading)
    }
    return reading
  }

  return async (request, response, path) => {
    const file = resolveFile(path)
    if (file === null) return false
    const asset = await loadAsset(file).catch(nullIfMissing)
    if (asset === null) return false
    // Cached but revalidated each time, so that a page never mixes two versions.
    response.setHeader('cache-control', 'no-cache')
    response.setHeader('etag', asset.etag)
    response.setHeader('vary', 'Accept-Encoding')
    if (file === INDEX_HTML) response.setHeader('content-security-policy', CONTENT_SECURITY_POLICY)
    if (isNotModified(request, asset.etag)) {
      response.writeHead(304).end()
      return true
    }
    response.setHeader('content-type', CONTENT_TYPES[extname(file)]!)
    const isPacked = acceptsGzip(request)
    const body = isPacked ? asset.packed : asset.plain
    if (isPacked) response.setHeader('content-encoding', 'gzip')
    response.writeHead(200, { 'content-length': body.length }).end(body)
    return true
  }
}

function resolveFile(path: string): string | null {
  if (path === '/') return INDEX_HTML
  const ownFile = /^\/assets\/(dashboard\/[\w-]+\.(?:ts|css|svg)|client\/[\w-]+\.ts)$/.exec(path)?.[1]
  if (ownFile !== undefined) return join(SOURCE_ROOT, ownFile)
  const [, name = '', file = ''] =
    /^\/assets\/lib\/([\w-]+)\/((?:[\w-]+\/)*[\w.-]+\.(?:js|mjs|css))$/.exec(path) ?? []
  const folder = PACKAGE_FOLDERS.get(name)
  return folder === undefined ? null : join(folder, file)
}

function nullIfMissing(error: NodeJS.ErrnoException): null {
  if (error.code === 'ENOENT') return null
  throw error
}

async function readContent(file: string): Promise<string> {
  const text = await readFile(file, 'utf8')
  if (file.endsWith('.ts')) return stripTypes(text)
  return file === INDEX_HTML
    ? text.replace('<!-- libraries -->', `<script type="importmap">${IMPORT_MAP}</script>`)
    : text
}
