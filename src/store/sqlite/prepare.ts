/**
 * Drizzle's words as better-sqlite3's own statement, made once: to say them anew takes ten times as long as SQLite takes to
 * run them, and drizzle's own reading of a prepared row twice as long (measured).
 * Invariant: values come by name, as `@name` in the text, and lists as one JSON value: no two texts differ by a value.
 */
import type { Statement } from 'better-sqlite3'
import type { Db } from './connection.ts'
import { type SQL, SQLiteSyncDialect, sql } from './drizzle.ts'

const dialect = new SQLiteSyncDialect({ casing: 'snake_case' })

/**
 * SQLite plans anew for each value of a bare parameter that it compares or limits by, some 20 to 40 µs each time; for an
 * expression it does not.
 */
const planOnce = (text: string): string => text.replace(/@\w+/g, 'coalesce($&, null)')

export const prepare = <Row>({ $client }: Pick<Db, '$client'>, query: SQL): Statement<[object?], Row> =>
  $client.prepare<[object?], Row>(planOnce(dialect.sqlToQuery(query.inlineParams()).sql))

/** Of a JSON list that was given by that name. */
export const jsonValues = (name: `@${string}`): SQL => sql`(select value from json_each(${sql.raw(name)}))`
