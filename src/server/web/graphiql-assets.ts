/**
 * What GraphiQL is made of, while somebody asks for it: packed by another process, and let go of a minute after.
 * Invariant: one process packs at a time, however many ask.
 */
import { fork } from 'node:child_process'

/** Compressed (gzip), by file name. */
export type CompressedAssets = Record<string, Uint8Array>

export interface GraphiqlAssets {
  load(): Promise<CompressedAssets>
  /** Waits for whoever is packing. */
  close(): Promise<void>
}

const ASSET_TTL_MS = 60_000
/** It takes a third of a second. */
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
      // It needs no secret of ours.
      env: {},
      serialization: 'advanced',
      timeout: PACK_TIMEOUT_MS,
    })
    child.on('message', message => resolve(message as CompressedAssets))
    child.on('error', reject)
    // Not its exit: that may be told before the last of what it sent. Why it failed stands on stderr.
    child.on('disconnect', () => reject(new Error('GraphiQL was not packed')))
  })
