/**
 * The truth: the log as it stands in the SQLite file, read past everything of the gateway's but its tables.
 */
import { inFile } from '../../support/file.ts'
import type { Filter } from './watcher.ts'

export interface Logged {
  /** Of the prediction. */
  id: string
  status: string
  tags: string[]
}

export interface Log {
  /** An app's events that the filter lets through, in the log's order. */
  events(app: string, filter?: Filter): Logged[]
  jobs(app: string): number
  /** Of every app. */
  unfinished(): number
}

const EVENTS = `select e.prediction_id as id, e.standing ->> 'status' as status, p.tags as tags
  from events e join predictions p on p.id = e.prediction_id join apps a on a.id = e.app_id
  where a.name = ? order by e.seq`
const JOBS = 'select count(*) as count from predictions p join apps a on a.id = p.app_id where a.name = ?'
const UNFINISHED = `select count(*) as count from predictions where status in ('QUEUED', 'CREATED', 'PROCESSING')`

export function createLog(file: string): Log {
  const ask = <Row>(question: string, ...values: string[]): Row[] =>
    inFile(file, db => db.prepare<string[], Row>(question).all(...values))

  return {
    events: (app, { statuses, tags } = {}) =>
      ask<{ id: string; status: string; tags: string }>(EVENTS, app)
        .map(row => ({ ...row, tags: JSON.parse(row.tags) as string[] }))
        .filter(event => statuses?.includes(event.status) ?? true)
        .filter(event => tags === undefined || event.tags.some(tag => tags.includes(tag))),
    jobs: app => ask<{ count: number }>(JOBS, app)[0]!.count,
    unfinished: () => ask<{ count: number }>(UNFINISHED)[0]!.count,
  }
}
