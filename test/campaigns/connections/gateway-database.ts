/**
 * Reads the event log from the SQLite file, without the gateway's code.
 */
import { queryDatabaseFile } from '../../support/database-file.ts'
import type { Filter } from './feed-client.ts'

export interface StoredEvent {
  /** The prediction's id. */
  id: string
  status: string
  tags: string[]
}

export interface GatewayDatabase {
  /** An app's events that match the filter, in log order. */
  events(app: string, filter?: Filter): StoredEvent[]
  countJobs(app: string): number
  /** Unfinished predictions of all apps. */
  countUnfinished(): number
}

const EVENTS = `select e.prediction_id as id, e.state ->> 'status' as status, p.tags as tags
  from events e join predictions p on p.id = e.prediction_id join apps a on a.id = e.app_id
  where a.name = ? order by e.seq`
const JOBS = 'select count(*) as count from predictions p join apps a on a.id = p.app_id where a.name = ?'
const UNFINISHED = `select count(*) as count from predictions where status in ('QUEUED', 'CREATED', 'PROCESSING')`

export function createGatewayDatabase(file: string): GatewayDatabase {
  const query = <Row>(sql: string, ...values: string[]): Row[] =>
    queryDatabaseFile(file, db => db.prepare<string[], Row>(sql).all(...values))

  return {
    events: (app, { statuses, tags } = {}) =>
      query<{ id: string; status: string; tags: string }>(EVENTS, app)
        .map(row => ({ ...row, tags: JSON.parse(row.tags) as string[] }))
        .filter(event => statuses?.includes(event.status) ?? true)
        .filter(event => tags === undefined || event.tags.some(tag => tags.includes(tag))),
    countJobs: app => query<{ count: number }>(JOBS, app)[0]!.count,
    countUnfinished: () => query<{ count: number }>(UNFINISHED)[0]!.count,
  }
}
