/**
 * The schema builder on which every file of this folder defines its types and fields.
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
 * Marks a field, in its `extensions`, whose value depends on more than the event, the variables and the app:
 * on the time of reading, or on other rows. A subscription that selects such a field is executed once per
 * subscriber.
 */
export const PER_SUBSCRIBER = 'perSubscriber'

const NODE_TYPES = new Set(['Prediction', 'App', 'Upload'])
/** An invalid global id decodes to this one: a well-formed id of a row that does not exist. */
const MISSING_NODE = { typename: 'Prediction', id: '' }
const MAX_NODES = 100

/** Cost of a field that runs a query of its own, without its children. */
export const QUERY_COST = 5
/** Cost of a mutation. */
export const WRITE_COST = 50

export const builder = new SchemaBuilder<SchemaTypes>({
  plugins: [RelayPlugin, ComplexityPlugin],
  // server/operation/query-cost.ts limits the cost before execution; the fields only declare it. A list
  // without a declared multiplier counts once.
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
