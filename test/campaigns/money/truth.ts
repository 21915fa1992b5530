/**
 * The gateway's rows as they stand in its SQLite file, read past everything of the gateway's but its tables.
 */
import { inFile } from '../../support/file.ts'
import type { Row } from './case.ts'
import { markerOf } from './marker.ts'

export interface Truth {
  rows(): Row[]
  /** Predictions that have not ended, and POSTs that were begun and are not settled. */
  unfinished(): number
  /** Predictions that are not yet sent. */
  unsent(): number
}

const ROWS = `select p.id, a.name as app, p.prompt, p.status, p.error, p.submission, p.upstream_id as upstreamId,
  p.outputs, p.retry_of as retryOf, p.begun_at as begunAt
  from predictions p join apps a on a.id = p.app_id order by p.created_at, p.id`
const UNFINISHED = `select count(*) as count from predictions
  where status in ('QUEUED', 'CREATED', 'PROCESSING') or submission = 'begun'`
const UNSENT = `select count(*) as count from predictions where status = 'QUEUED' and submission = 'none'`

export function createTruth(file: string): Truth {
  const ask = <Answer>(question: string): Answer[] =>
    inFile(file, db => db.prepare<[], Answer>(question).all())

  return {
    rows: () =>
      ask<Omit<Row, 'marker' | 'outputs'> & { prompt: string; outputs: string }>(ROWS).map(
        ({ prompt, outputs, ...row }) => ({
          ...row,
          marker: markerOf(prompt),
          outputs: (JSON.parse(outputs) as { url: string }[]).map(({ url }) => url),
        }),
      ),
    unfinished: () => ask<{ count: number }>(UNFINISHED)[0]!.count,
    unsent: () => ask<{ count: number }>(UNSENT)[0]!.count,
  }
}
