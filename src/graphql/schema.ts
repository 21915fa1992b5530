/**
 * The whole schema: each file is imported for its effect on the builder.
 */
import './scalars.ts'
import './model.ts'
import './viewer.ts'
import './prediction.ts'
import './prediction-events.ts'
import './upload-image.ts'
import './submit-video.ts'
import './cancel-prediction.ts'
import './retry-prediction.ts'
import './create-access-token.ts'
import type { GraphQLInterfaceType, GraphQLSchema } from 'graphql'
import { withAnswerBudget } from './answer-budget.ts'
import { builder } from './builder.ts'
import { resolveIdOf } from './global-id.ts'

export const schema = withAnswerBudget(withSynchronousIds(builder.toSchema()))

/** The Relay plugin makes every id a promise, and so every page and every event. */
function withSynchronousIds(schema: GraphQLSchema): GraphQLSchema {
  for (const type of schema.getPossibleTypes(schema.getType('Node') as GraphQLInterfaceType))
    type.getFields().id!.resolve = resolveIdOf(type.name)
  return schema
}
