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
import { builder } from './builder.ts'

export const schema = builder.toSchema()
