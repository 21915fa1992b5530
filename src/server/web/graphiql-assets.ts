/**
 * GraphiQL's assets on demand: compressed by a child process, and evicted a minute after the last request.
 * Invariant: at most one child process runs at a time, however many requests wait for it.
 */
import { fork } from 'node:child_process'
import { MINUTE_MS } from '../../domain/time.ts'

/** File name -> content, compressed with gzip. */
export type CompressedAssets = Record<string, Uint8Array>

export interface GraphiqlAssets {
  load(): Promise<CompressedAssets>
  /** Waits for a running child process. */
  close(): Promise<void>
}

const ASSET_TTL_MS = MINUTE_MS
/** Packing takes a third of a second. */
const PACK_TIMEOUT_MS = 20_000

export function createGraphiqlAssets(assetTtlMs = ASSET_TTL_MS): GraphiqlAssets {
  let assets: Promise<CompressedAssets> | null = null
  let evictTimer: NodeJS.Timeout | undefined

  return {
    load() {
      clearTimeout(evictTimer)
      evictTimer = setTimeout(() => {
        assets = null
      }, assetTtlMs).unref()
      assets ??= packInChildProcess().catch(error => {
        assets = null
        throw error
      })
      return assets
    },

    async close() {
      clearTimeout(evictTimer)
      await assets?.catch(() => {})
      assets = null
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
