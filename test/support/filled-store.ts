/**
 * The GraphQL schema on a store with 60 predictions of one app, which nothing else reads.
 */
import { graphql } from 'graphql'
import { expect } from 'vitest'
import { createTokens } from '../../src/auth/access-token.ts'
import { createCursors } from '../../src/events/cursor.ts'
import { createSubscriptionSources } from '../../src/events/subscription-source.ts'
import { createContext } from '../../src/graphql/context.ts'
import { encodeId } from '../../src/graphql/global-id.ts'
import { schema } from '../../src/graphql/schema.ts'
import type { Engine } from './engine.ts'
import { addPrediction, fullAccess, newApp, T } from './store.ts'

export async function openFilledStore(open: Engine['open']) {
  const store = await open(() => {})
  const app = await newApp(store)
  const ids: string[] = []
  for (let i = 0; i < 60; i++) {
    const { id } = await addPrediction(store, app, T + i, {
      retryOf: ids.at(-1) ?? null,
      tags: ['a'],
      metadata: { i },
    })
    if (i % 2) await store.change(id, () => ({ status: 'FAILED', error: 'GENERATION_FAILED' }), T + i)
    ids.push(id)
  }
  const cursorsOf = createCursors(store.cursorKey, store.epoch)
  const services = {
    store,
    cursorsOf,
    sources: createSubscriptionSources(store, cursorsOf),
    tokens: createTokens(store.tokenKey, () => T),
    now: () => T,
    maxUploadBytesPerApp: 1e9,
    toPublicUrl: (path: string) => path,
    logNotice() {},
    countRejection() {},
    nextSlice: async () => {},
  }
  return {
    store,
    app,
    ids: ids.map(id => encodeId('Prediction', id)),
    /** Returns the data of the answer, which has no error. */
    // biome-ignore lint/suspicious/noExplicitAny: the shape is the document's
    async ask(source: string, variableValues: Record<string, unknown> = {}): Promise<any> {
      const contextValue = createContext(services, fullAccess(app))
      const { data, errors } = await graphql({ schema, source, variableValues, contextValue })
      expect(errors).toBeUndefined()
      return data
    },
    /** Stores an image and returns the global id of its upload. */
    async addUpload(): Promise<string> {
      const image = {
        appId: app,
        hash: 'h',
        contentType: 'image/png' as const,
        width: 9,
        height: 9,
        bytes: 9,
      }
      const kept = await store.saveUpload({ image, restrictionKey: '', data: Buffer.alloc(9) }, 1e9, T)
      return kept.kind === 'kept' ? encodeId('Upload', kept.upload.id) : ''
    },
    [Symbol.asyncDispose]: store.close,
  }
}
