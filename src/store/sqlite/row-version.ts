/**
 * The version of a prediction's row.
 * Invariant: every UPDATE of `predictions` raises it.
 */
import { sql } from './drizzle.ts'
import { predictions } from './schema.ts'

/** Fields of `set` in Drizzle. */
export const NEXT_VERSION = { version: sql`${predictions.version} + 1` }
