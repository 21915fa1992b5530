/**
 * GraphiQL's assets on demand: compressed by a child process, and evicted a minute after the last request.
 * Invariant: at most one child process runs at a time, however many requests wait for it.
 */
import { fork } from 'node:child_process'
import { promisify } from 'node:util'
import { gunzip } from 'node:zlib'
import { MINUTE_MS } from '../../domain/time.ts'

/** File name -> content, compressed with gzip. */
export type CompressedAssets = Record<string, Uint8Array>

export interface GraphiqlAssets {
  load(): Promise<CompressedAssets>
  /** Asset as it was before compression; undefined if there is none of this name. */
  loadPlain(name: string): Promise<Uint8Array | undefined>
  /** Waits for a running child process. */
  close(): Promise<void>
}

const ASSET_TTL_MS = MINUTE_MS
/** Packing takes a third of a second. */
const PACK_TIMEOUT_MS = 20_000

const gunzipAsync = promisify(gunzip)

export function createGraphiqlAssets(assetTtlMs = ASSET_TTL_MS): GraphiqlAssets {
  let assets: Promise<CompressedAssets> | null = null
  /** Requests share one unpacked copy: 9 MB in all. Each slow client would hold its own otherwise. */
  const plainAssets = new Map<string, Promise<Uint8Array>>()
  let evictTimer: NodeJS.Timeout | undefined

  function load(): Promise<CompressedAssets> {
    clearTimeout(evictTimer)
    evictTimer = setTimeout(() => {
      assets = null
      plainAssets.clear()
    }, assetTtlMs).unref()
    assets ??= packInChildProcess().catch(error => {
      assets = null
      throw error
    })
    return assets
  }

  return {
    load,

    async loadPlain(name) {
      const compressed = (await load())[name]
      if (compressed === undefined) return undefined
      const plain = plainAssets.get(name) ?? gunzipAsync(compressed)
      plainAssets.set(name, plain)
      return plain
    },

    async close() {
      clearTimeout(evictTimer)
      await assets?.catch(() => {})
      assets = null
      plainAssets.clear()
    },
  }
}

const packInChildProcess = () =>
  new Promise<CompressedAssets>((resolve, reject) => {
    const child = fork(new URL('graphiql-pack.ts', import.meta.url), {
      // The child process needs none of the secrets in the environment.
      env: {},
      serialization: 'advanced',
      timeout: PACK_TIMEOUT_MS,
    })
    child.on('message', message => resolve(message as CompressedAssets))
    child.on('error', reject)
    // Not `exit`, which may come before the last message. The cause of a failure is on stderr.
    child.on('disconnect', () => reject(new Error('GraphiQL was not packed')))
  })
