/**
 * Prepares Drizzle's SQL as a better-sqlite3 statement once. Building the SQL anew takes ten times as long as running
 * it, and Drizzle's own row mapping of a prepared statement takes twice as long (measured).
 * Invariant: values are bound by name (`@name`), lists as one JSON value, so the text never depends on a value.
 */
import type { Statement } from 'better-sqlite3'
import type { Db } from './connection.ts'
import { type SQL, SQLiteSyncDialect, sql } from './drizzle.ts'

const dialect = new SQLiteSyncDialect({ casing: 'snake_case' })

/**
 * SQLite plans anew for each value of a bare parameter in a comparison or a limit, 20 to 40 µs each time. For an
 * expression it does not.
 */
const planOnce = (text: string): string => text.replace(/@\w+/g, 'coalesce($&, null)')

export const prepare = <Row>({ $client }: Pick<Db, '$client'>, query: SQL): Statement<[object?], Row> =>
  $client.prepare<[object?], Row>(planOnce(dialect.sqlToQuery(query.inlineParams()).sql))

/** The values of the JSON list bound to `name`. */
export const jsonValues = (name: `@${string}`): SQL => sql`(select value from json_each(${sql.raw(name)}))`
