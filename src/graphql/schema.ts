/**
 * The whole schema: each noun is imported for its effect on the builder.
 */
import './scalars.ts'
import './model.ts'
import './app.ts'
import './prediction.ts'
import './event.ts'
import './upload.ts'
import './submission.ts'
import './cancellation.ts'
import './retry.ts'
import './access-token.ts'
import type { GraphQLInterfaceType, GraphQLSchema } from 'graphql'
import { builder } from './builder.ts'
import { encodeId } from './id.ts'

export const schema = withIdsAtOnce(builder.toSchema())

/** Relay's plugin makes a promise of each id, and so of each page and each event. */
function withIdsAtOnce(schema: GraphQLSchema): GraphQLSchema {
  for (const type of schema.getPossibleTypes(schema.getType('Node') as GraphQLInterfaceType))
    type.getFields().id!.resolve = ({ id }: { id: string }) => encodeId(type.name, id)
  return schema
}
