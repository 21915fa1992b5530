/**
 * The parts of Drizzle that the engine uses, from its CommonJS build. Linked as ES modules the same code costs each
 * start 180 MB and a quarter of a second more, because its index loads every dialect (measured: 69 MB and 52 ms, ES
 * modules 252 MB and 306 ms).
 * Invariant: the rest of the engine imports Drizzle only from here; otherwise both builds are loaded.
 */
import { createRequire } from 'node:module'

export type { Column, SQL } from 'drizzle-orm'
export type { BetterSQLite3Database } from 'drizzle-orm/better-sqlite3'

const require = createRequire(import.meta.url)

export const {
  and,
  asc,
  count,
  DrizzleError,
  desc,
  eq,
  getTableColumns,
  gt,
  gte,
  inArray,
  isNotNull,
  isNull,
  lt,
  lte,
  ne,
  or,
  sql,
} = require('drizzle-orm') as typeof import('drizzle-orm')

export const { blob, index, integer, primaryKey, real, SQLiteSyncDialect, sqliteTable, text, uniqueIndex } =
  require('drizzle-orm/sqlite-core') as typeof import('drizzle-orm/sqlite-core')

export const { drizzle } =
  require('drizzle-orm/better-sqlite3') as typeof import('drizzle-orm/better-sqlite3')
export const { migrate } =
  require('drizzle-orm/better-sqlite3/migrator') as typeof import('drizzle-orm/better-sqlite3/migrator')
export const { readMigrationFiles } = require('drizzle-orm/migrator') as typeof import('drizzle-orm/migrator')
