/**
 * Predicates for the state of a row, used by the partial indexes of schema.ts and by the queries.
 * Invariant: they are written out, never bound. SQLite uses a partial index only if the query repeats its condition
 * word for word.
 */
import { sql } from './drizzle.ts'

export const WAITING = sql.raw(`"status" = 'QUEUED' and "submission" = 'none'`)
/** Its next image check is a retry. */
export const IS_IMAGE_RETRY = sql.raw(`"image_check_failures" > 0`)
export const SUBMIT_STARTED = sql.raw(`"submission" = 'begun'`)
/** Rows in flight hold a slot of the account. `begun` rows hold one too, and have no tracking yet. */
export const IN_FLIGHT = sql.raw(`"tracking" = 'active'`)
/** Polled: in flight, or expired and not yet forgotten by upstream. */
export const TRACKED = sql.raw(`"submission" = 'accepted' and "tracking" is not null`)
/** Unresolved submit: its job is searched for in upstream's list, because its POST may have been accepted. */
export const UNRESOLVED = sql.raw(`"submission" = 'unknown' and "tracking" is not null`)
/** The client has been told an end, possibly `SUBMISSION_UNKNOWN`. */
export const HAS_LEFT_QUEUE = sql.raw(`"status" <> 'QUEUED'`)
/** The POST is under way or unresolved, also if the search has ended: any unowned job of upstream may be the row's. */
export const UNANSWERED = sql.raw(`"submission" in ('begun', 'unknown')`)
export const COMPLETED = sql.raw(`"status" = 'COMPLETED'`)
export const HAS_TOKEN = sql.raw(`"token_id" is not null`)
/** Submitted with a restricted token. */
export const HAS_RESTRICTION = sql.raw(`"restriction_key" <> ''`)
export const HAS_UPLOAD = sql.raw(`"upload_id" is not null`)
/** The bytes of the image are still being written, or already being deleted. */
export const INCOMPLETE = sql.raw(`"is_complete" = 0`)
