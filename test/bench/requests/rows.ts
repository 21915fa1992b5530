/**
 * Reads the gateway's rows directly: prepared statements of better-sqlite3, only the requested columns.
 */
import Database from 'better-sqlite3'
import { APP } from './bench-server.ts'

export interface Row {
  id: string
  status: string
  model: string
  createdAt: number
  updatedAt: number
  tags: string[]
  /** Micro-USD. */
  cost: number
  outputs: { url: string }[]
}

export interface Rows {
  get(id: string): Row | null
  /** Newest first: `first` rows, and one more if there is one. */
  page(first: number, after: string | null): Row[]
}

type StoredRow = Omit<Row, 'tags' | 'outputs'> & { tags: string; outputs: string }

const COLUMNS = 'id, status, model, created_at as createdAt, updated_at as updatedAt, tags, cost, outputs'
const ORDER = 'order by created_at desc, id desc limit ?'

export function openRows(file: string): Rows {
  const db = new Database(file)
  const app = db.prepare('select id from apps where name = ?').pluck().get(APP)
  const select = (rest: string) =>
    db.prepare<unknown[], StoredRow>(`select ${COLUMNS} from predictions where app_id = ? ${rest}`)
  const byId = select('and id = ?')
  const first = select(ORDER)
  const afterCursor = select(`and (created_at, id) < (?, ?) ${ORDER}`)

  return {
    get(id) {
      const row = byId.get(app, id)
      return row === undefined ? null : decodeRow(row)
    },
    page(count, after) {
      if (after === null) return first.all(app, count + 1).map(decodeRow)
      const [createdAt, id] = Buffer.from(after, 'base64url').toString().split(':')
      return afterCursor.all(app, Number.parseInt(createdAt!, 36), id, count + 1).map(decodeRow)
    },
  }
}

/** The gateway's own format, so that answers have the same bytes. */
export const encodeCursor = ({ createdAt, id }: Pick<Row, 'createdAt' | 'id'>): string =>
  Buffer.from(`${createdAt.toString(36)}:${id}`).toString('base64url')

const decodeRow = (row: StoredRow): Row => ({
  ...row,
  tags: JSON.parse(row.tags),
  outputs: JSON.parse(row.outputs),
})
