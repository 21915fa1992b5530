/**
 * `feedCursor` is the log's head before any other field is read, wherever it stands in the document.
 */
import { BREAK, type DocumentNode, visit } from 'graphql'
import type { Plugin } from 'graphql-yoga'
import type { Context } from '../../graphql/context.ts'

export const useFeedHead = (): Plugin<Context> => {
  const known = new WeakMap<DocumentNode, boolean>()

  return {
    async onExecute({ args: { document, contextValue } }) {
      const asks = known.get(document) ?? mentions(document, 'feedCursor')
      known.set(document, asks)
      if (asks) contextValue.head = (await contextValue.store.eventBounds()).head
    },
  }
}

function mentions(document: DocumentNode, field: string): boolean {
  let found = false
  visit(document, {
    Field({ name }) {
      found ||= name.value === field
      return found ? BREAK : undefined
    },
  })
  return found
}
