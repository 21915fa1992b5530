/**
 * The schema builder every noun hangs its types on.
 */
import SchemaBuilder from '@pothos/core'
import RelayPlugin from '@pothos/plugin-relay'
import type { Context } from './context.ts'
import { decodeId, encodeId } from './id.ts'
import { badArgument } from './request-error.ts'

export interface SchemaTypes {
  Context: Context
  DefaultFieldNullability: false
  DefaultEdgesNullability: false
  DefaultNodeNullability: false
  Scalars: {
    ID: { Input: string; Output: string }
    /** Milliseconds since 1970. */
    DateTime: { Input: number; Output: number }
    URL: { Input: string; Output: string }
    JSON: { Input: unknown; Output: unknown }
  }
}

const NODES = new Set(['Prediction', 'App'])
/** More than a page; each is one read. */
const MOST_NODES = 100

export const builder = new SchemaBuilder<SchemaTypes>({
  plugins: [RelayPlugin],
  defaultFieldNullability: false,
  relay: {
    cursorType: 'String',
    encodeGlobalID: (typename, id) => encodeId(typename, String(id)),
    decodeGlobalID: decodeId,
    edgesFieldOptions: { nullable: false },
    nodeFieldOptions: { nullable: false },
    nodeQueryOptions: {
      nullable: true,
      resolve: (_root, { id }, _context, _info, resolveNode) =>
        NODES.has(id.typename) ? resolveNode(id) : null,
    },
    nodesQueryOptions: {
      nullable: { list: false, items: true },
      resolve: async (_root, { ids }, _context, _info, resolveNodes) => {
        if (ids.length > MOST_NODES) throw badArgument('ids', `at most ${MOST_NODES}`)
        const known = ids.filter(({ typename }) => NODES.has(typename))
        const nodes = await resolveNodes(known)
        const byId = new Map(known.map((id, i) => [id, nodes[i]]))
        return ids.map(id => byId.get(id) ?? null)
      },
    },
  },
})

builder.queryType()
builder.mutationType()
builder.subscriptionType()
