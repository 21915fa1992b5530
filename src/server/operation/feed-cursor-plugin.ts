/**
 * Reads the event log's head before any field is resolved, if the operation selects `feedCursor` anywhere.
 */
import { BREAK, type DocumentNode, visit } from 'graphql'
import type { Plugin } from 'graphql-yoga'
import type { Context } from '../../graphql/context.ts'

export const useFeedCursor = (): Plugin<Context> => {
  const selectsCursorByDocument = new WeakMap<DocumentNode, boolean>()

  return {
    async onExecute({ args: { document, contextValue } }) {
      const selectsCursor = selectsCursorByDocument.get(document) ?? selectsField(document, 'feedCursor')
      selectsCursorByDocument.set(document, selectsCursor)
      if (selectsCursor) contextValue.headSeq = (await contextValue.store.eventRange()).head
    },
  }
}

function selectsField(document: DocumentNode, field: string): boolean {
  let found = false
  visit(document, {
    Field({ name }) {
      found ||= name.value === field
      return found ? BREAK : undefined
    },
  })
  return found
}
