/**
 * Reads the gateway's rows from its SQLite file, without the gateway's code.
 */
import { queryDatabaseFile } from '../../support/database-file.ts'
import type { PredictionRow } from './evidence.ts'
import { findMarker } from './prompt-marker.ts'

export interface GatewayDatabase {
  rows(): PredictionRow[]
  /** Predictions that have not ended, and POSTs without an outcome. */
  countUnfinished(): number
  /** Predictions that were not sent yet. */
  countUnsent(): number
}

const ROWS = `select p.id, a.name as app, p.prompt, p.status, p.error, p.submission, p.upstream_id as upstreamId,
  p.outputs, p.retry_of as retryOf, p.submit_started_at as submitStartedAt
  from predictions p join apps a on a.id = p.app_id order by p.created_at, p.id`
const UNFINISHED = `select count(*) as count from predictions
  where status in ('QUEUED', 'CREATED', 'PROCESSING') or submission = 'begun'`
const UNSENT = `select count(*) as count from predictions where status = 'QUEUED' and submission = 'none'`

export function createGatewayDatabase(file: string): GatewayDatabase {
  const query = <Result>(sql: string): Result[] =>
    queryDatabaseFile(file, db => db.prepare<[], Result>(sql).all())

  return {
    rows: () =>
      query<Omit<PredictionRow, 'marker' | 'outputs'> & { prompt: string; outputs: string }>(ROWS).map(
        ({ prompt, outputs, ...row }) => ({
          ...row,
          marker: findMarker(prompt),
          outputs: (JSON.parse(outputs) as { url: string }[]).map(({ url }) => url),
        }),
      ),
    countUnfinished: () => query<{ count: number }>(UNFINISHED)[0]!.count,
    countUnsent: () => query<{ count: number }>(UNSENT)[0]!.count,
  }
}
