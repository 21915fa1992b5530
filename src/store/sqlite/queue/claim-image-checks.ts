/**
 * Whose image is looked at next, in SQLite: those of the jobs that will be sent first.
 * Invariant: what counts is the first `stock` of the queue's order. Whatever else an app has waiting, or ready, keeps no
 * other app's job from being made ready.
 */
import type { Queue } from '../../store.ts'
import type { Db } from '../connection.ts'
import { type SQL, sql } from '../drizzle.ts'
import { prepare, valuesOf } from '../prepare.ts'
import { decoded, type Raw, type Row, toJob, WHOLE } from '../row-mapping.ts'
import { WAITING } from '../schema.ts'
import { IN_ORDER, IS_HELD, STANDS } from './fair-order.ts'
import type { Paces } from './submit-circuit.ts'

const IS_OTHERS = sql`app_id not in ${valuesOf('@except')}`
const IS_DUE = sql`${WAITING} and (image_seen_at is null or image_seen_at <= @since) and due_at <= @now`

/** No app needs more than the stock of either half: the index has them in order. */
const wanted = (half: SQL) => sql`
  select 1 as wanted, predictions.id, app_id, created_at, image_tries
  from (select app_id as app from stands where ${IS_OTHERS}) cross join predictions
  where predictions.rowid in (
    select rowid from predictions indexed by predictions_waiting
    where app_id = app and ${IS_DUE} and ("image_tries" > 0) = ${half}
    order by created_at, id limit @stock
  )`

// What was refused once and waits again keeps nobody from being made ready: a trial may have to be another's.
const FIRST = sql`
  with ${STANDS},
  candidates as (
    select 0 as wanted, id, app_id, created_at, image_tries
    from predictions indexed by predictions_seen
    where ${WAITING} and image_seen_at > @since and attempts = 0
    union all ${wanted(sql`0`)}
    union all ${wanted(sql`1`)}
  ),
  -- A first look comes before all second ones: hosts that hang hold up nobody else's.
  ranked as (
    select id, wanted, stands.*, row_number() over (
      partition by candidates.app_id order by image_tries > 0, created_at, id
    ) as k
    from candidates cross join stands on stands.app_id = candidates.app_id
  ),
  placed as (
    select id, wanted, row_number() over (order by ${IS_HELD}, ${IN_ORDER}) as place from ranked
  )
  select id from placed where wanted and place <= @stock order by place limit @limit`

export function createImages(db: Db, paces: Pick<Paces, 'pause'>): Pick<Queue, 'claimImages'> {
  const any = prepare<number>(
    db,
    sql`select exists (select 1 from predictions where ${IS_DUE} and ${IS_OTHERS})`,
  ).pluck()
  const first = prepare<string>(db, FIRST).pluck()
  const take = prepare<Raw<Row>>(
    db,
    sql`update predictions set fence = fence + 1, due_at = @leaseUntil
      where id in ${valuesOf('@ids')} and ${IS_DUE}
      returning ${WHOLE}`,
  )

  return {
    async claimImages({ now, leaseUntil, limit, imagesSince, stock, exceptApps = [] }) {
      const standing = paces.pause()
      // While nothing may be sent, what was seen is not looked at again: a host that fails meanwhile would end the job.
      const since = standing !== null && !standing.trial ? 0 : imagesSince
      const due = { now, since, except: JSON.stringify([...exceptApps]) }
      if (any.get(due) === 0) return []
      // Most rings find enough images seen: no write lock for those.
      const ids = first.all({ ...due, stock, limit })
      if (ids.length === 0) return []
      return take.all({ now, since, leaseUntil, ids: JSON.stringify(ids) }).map(row => toJob(decoded(row)))
    },
  }
}
