/**
 * What GraphiQL is made of, while somebody asks for it: packed by another process, and let go of a minute after.
 * Invariant: one process packs at a time, however many ask.
 */
import { fork } from 'node:child_process'

/** Compressed (gzip), by file name. */
export type Pack = Record<string, Uint8Array>

export interface Held {
  open(): Promise<Pack>
  /** Waits for whoever is packing. */
  close(): Promise<void>
}

const HELD_MS = 60_000
/** It takes a third of a second. */
const PATIENCE_MS = 20_000

export function createHeld(heldMs = HELD_MS): Held {
  let pack: Promise<Pack> | null = null
  let letGo: NodeJS.Timeout | undefined

  return {
    open() {
      clearTimeout(letGo)
      letGo = setTimeout(() => {
        pack = null
      }, heldMs).unref()
      pack ??= packed().catch(error => {
        pack = null
        throw error
      })
      return pack
    },

    async close() {
      clearTimeout(letGo)
      await pack?.catch(() => {})
      pack = null
    },
  }
}

const packed = () =>
  new Promise<Pack>((resolve, reject) => {
    const child = fork(new URL('graphiql-pack.ts', import.meta.url), {
      // It needs no secret of ours.
      env: {},
      serialization: 'advanced',
      timeout: PATIENCE_MS,
    })
    child.on('message', message => resolve(message as Pack))
    child.on('error', reject)
    // Not its exit: that may be told before the last of what it sent. Why it failed stands on stderr.
    child.on('disconnect', () => reject(new Error('GraphiQL was not packed')))
  })
