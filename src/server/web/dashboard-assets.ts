/**
 * The dashboard at `/` and what it is made of: its own files, and its libraries out of their packages.
 * Invariant: a file is read when it is asked for, and none but those named here; nothing comes from another host.
 */
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { findPackageJSON } from 'node:module'
import { dirname, extname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import { etagOf, isKnown, preferred } from '../responses/content-negotiation.ts'
import { strip } from './strip-types.ts'

/** Answers, where the path is one of its own; false where it is somebody else's. */
export type Pages = (request: IncomingMessage, response: ServerResponse, path: string) => Promise<boolean>

/** By what a script calls it: the package, and the file in it that a browser can run. */
const LIBRARIES: Record<string, [name: string, file: string]> = {
  preact: ['preact', 'dist/preact.mjs'],
  'preact/hooks': ['preact', 'hooks/dist/hooks.mjs'],
  htm: ['htm', 'dist/htm.mjs'],
  'htm/preact': ['htm', 'preact/index.mjs'],
  'graphql-ws': ['graphql-ws', 'dist/client.js'],
  uplot: ['uplot', 'dist/uPlot.esm.js'],
}
const SOURCES = fileURLToPath(new URL('../..', import.meta.url))
const PAGE = join(SOURCES, 'dashboard', 'index.html')

const TYPES: Record<string, string> = {
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

/** Images and videos are wherever apps have them; everything else is the gateway's own. */
const POLICY = [
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

const zip = promisify(gzip)

export function createPages(): Pages {
  return async (request, response, path) => {
    const file = fileAt(path)
    if (file === null) return false
    const body = await bodyOf(file).catch(ifMissing)
    if (body === null) return false
    const etag = etagOf(body)
    // Kept, and asked for again each time: a page is never of two versions.
    response.setHeader('cache-control', 'no-cache')
    response.setHeader('etag', etag)
    response.setHeader('vary', 'Accept-Encoding')
    if (file === PAGE) response.setHeader('content-security-policy', POLICY)
    if (isKnown(request, etag)) {
      response.writeHead(304).end()
      return true
    }
    response.setHeader('content-type', TYPES[extname(file)]!)
    const isZipped = preferred(request.headers['accept-encoding'], ['gzip']) !== null
    const sent = isZipped ? await zip(body) : Buffer.from(body)
    if (isZipped) response.setHeader('content-encoding', 'gzip')
    response.writeHead(200, { 'content-length': sent.length }).end(sent)
    return true
  }
}

function fileAt(path: string): string | null {
  if (path === '/') return PAGE
  const own = /^\/assets\/(dashboard\/[\w-]+\.(?:ts|css|svg)|client\/[\w-]+\.ts)$/.exec(path)?.[1]
  if (own !== undefined) return join(SOURCES, own)
  const [, name = '', file = ''] =
    /^\/assets\/lib\/([\w-]+)\/((?:[\w-]+\/)*[\w.-]+\.(?:js|mjs|css))$/.exec(path) ?? []
  const home = PACKAGES.has(name) ? findPackageJSON(name, import.meta.url) : undefined
  return home === undefined ? null : join(dirname(home), file)
}

function ifMissing(error: NodeJS.ErrnoException): null {
  if (error.code === 'ENOENT') return null
  throw error
}

const PACKAGES = new Set(Object.values(LIBRARIES).map(([name]) => name))

async function bodyOf(file: string): Promise<string> {
  const text = await readFile(file, 'utf8')
  if (file.endsWith('.ts')) return strip(text)
  return file === PAGE
    ? text.replace('<!-- libraries -->', `<script type="importmap">${IMPORT_MAP}</script>`)
    : text
}
