import { execFileSync } from 'node:child_process'
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { expect, test } from 'vitest'
import { openDatabase } from '../../../src/store/sqlite/connection.ts'

/** drizzle-kit writes only below the working directory. */
function temporaryFolder() {
  const path = mkdtempSync('node_modules/.migrations-')
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true }) }
}

const generateMigration = (folder: string) =>
  execFileSync('drizzle-kit', [
    'generate',
    '--dialect=sqlite',
    '--casing=snake_case',
    '--schema=src/store/sqlite/schema.ts',
    `--out=${folder}`,
  ])

interface Column {
  name: string
  type: string
  notnull: 0 | 1
  dflt_value: string | null
  /** Index in the primary key, from 1; 0 outside of it. */
  pk: number
}

/** The tables of a database by name. Columns and indexes are objects by name, because migrations add them in another order. */
function readTables(client: Database.Database) {
  const pragma = <Row>(text: string) => client.pragma(text) as Row[]
  const selectSql = client
    .prepare<[string], string | null>('select sql from sqlite_master where name = ?')
    .pluck()
  // RENAME changes the quotes of a stored statement.
  const statementOf = (name: string) => selectSql.get(name)?.replaceAll('`', '"').replace(/\s+/g, ' ')
  const columnsOf = (table: string) =>
    pragma<Column>(`table_xinfo(${table})`).map(({ name, type, notnull, dflt_value, pk }) => [
      name,
      { type, notnull, default: dflt_value, pk },
    ])
  const indexesOf = (table: string) =>
    pragma<{ name: string; unique: 0 | 1 }>(`index_list(${table})`).map(({ name, unique }) => [
      name,
      {
        unique,
        columns: pragma<Column>(`index_info(${name})`).map(column => column.name),
        statement: statementOf(name),
      },
    ])
  const foreignKeysOf = (table: string) =>
    pragma<Record<'from' | 'table' | 'to', string>>(`foreign_key_list(${table})`)
      .map(key => `${key.from} -> ${key.table}.${key.to}`)
      .sort()
  const tables = pragma<{ name: string; schema: string; type: string; wr: 0 | 1 }>('table_list').filter(
    ({ name, schema, type }) => schema === 'main' && type === 'table' && !/^(sqlite_|__drizzle_)/.test(name),
  )
  return Object.fromEntries(
    tables.map(({ name, wr }) => [
      name,
      {
        columns: Object.fromEntries(columnsOf(name)),
        indexes: Object.fromEntries(indexesOf(name)),
        foreignKeys: foreignKeysOf(name),
        isWithoutRowid: wr === 1,
        hasAutoincrement: /\bautoincrement\b/i.test(statementOf(name)!),
      },
    ]),
  )
}

test('schema.ts has no change that migrations/ lacks (npm run migrations)', () => {
  using folder = temporaryFolder()
  cpSync('src/store/sqlite/migrations', folder.path, { recursive: true })
  const before = readdirSync(folder.path)
  generateMigration(folder.path)
  expect(readdirSync(folder.path)).toEqual(before)
})

test('all migrations together make the tables, columns and indexes of schema.ts', () => {
  using folder = temporaryFolder()
  generateMigration(folder.path)
  const files = readdirSync(folder.path).filter(name => name.endsWith('.sql'))
  expect(files).toHaveLength(1)
  const fresh = new Database(':memory:')
  const { db, close } = openDatabase(':memory:', { exclusive: false })
  try {
    fresh.exec(readFileSync(join(folder.path, files[0]!), 'utf8'))
    const expected = readTables(fresh)
    expect(Object.keys(expected)).toContain('predictions')
    expect(expected.predictions!.indexes.predictions_waiting.statement).toContain(
      `WHERE "status" = 'QUEUED' and "submission" = 'none'`,
    )
    // Drizzle can't express WITHOUT ROWID.
    expected.prediction_tags!.isWithoutRowid = true
    expect(readTables(db.$client)).toEqual(expected)
  } finally {
    fresh.close()
    close()
  }
})
