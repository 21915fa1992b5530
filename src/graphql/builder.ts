/**
 * The schema builder every noun hangs its types on.
 */
import SchemaBuilder from '@pothos/core'
import ComplexityPlugin from '@pothos/plugin-complexity'
import RelayPlugin from '@pothos/plugin-relay'
import type { Context } from './context.ts'
import { decodeId, encodeId } from './global-id.ts'
import { badArgument } from './request-errors.ts'
import type { UploadFile } from './upload-file.ts'

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
    File: { Input: UploadFile; Output: never }
  }
}

/**
 * Marks a field, in its `extensions`, that depends on more than the item, the variables and the app: on the moment, or on
 * other rows. A subscription that selects one is executed for each who asks.
 */
export const PER_SUBSCRIBER = 'own'

const NODE_TYPES = new Set(['Prediction', 'App', 'Upload'])
/** What is no id of any of them: asked for like one that is, and never there. */
const MISSING_NODE = { typename: 'Prediction', id: '' }
const MAX_NODES = 100

/** What a field costs, beside those below it, that makes a query of its own. */
export const QUERY_COST = 5
/** And that writes, for good. */
export const WRITE_COST = 50

export const builder = new SchemaBuilder<SchemaTypes>({
  plugins: [RelayPlugin, ComplexityPlugin],
  // The door judges, before anything runs; here the fields only say what they cost. A list that says nothing is short.
  complexity: { disabled: true, defaultListMultiplier: 1 },
  defaultFieldNullability: false,
  relay: {
    cursorType: 'String',
    encodeGlobalID: (typename, id) => encodeId(typename, String(id)),
    decodeGlobalID: globalId => {
      const decoded = decodeId(globalId)
      return NODE_TYPES.has(decoded.typename) ? decoded : MISSING_NODE
    },
    edgesFieldOptions: { nullable: false },
    nodeFieldOptions: { nullable: false },
    nodeQueryOptions: { nullable: true },
    nodesQueryOptions: {
      complexity: ({ ids }) => ({ field: 1, multiplier: ids.length }),
      nullable: { list: false, items: true },
      resolve: (_root, { ids }, _context, _info, resolveNodes) => {
        if (ids.length > MAX_NODES) throw badArgument('ids', `at most ${MAX_NODES}`)
        return resolveNodes(ids)
      },
    },
  },
})

builder.queryType()
builder.mutationType()
builder.subscriptionType()
