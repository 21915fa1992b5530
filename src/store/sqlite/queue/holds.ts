/**
 * The holds in SQL (the rule: domain/hold.ts).
 */
import { ALL_JOBS, type Hold, type HoldTarget } from '../../../domain/hold.ts'
import type { VideoModel } from '../../../domain/models.ts'
import type { AppId } from '../../../domain/prediction.ts'
import type { HoldStore } from '../../store.ts'
import type { Db } from '../connection.ts'
import { and, asc, eq, sql } from '../drizzle.ts'
import { prepare } from '../prepare.ts'
import { holds } from '../schema.ts'

const COVERS_APP_AND_MODEL = sql`holds.app_id in ('', predictions.app_id) and holds.model in ('', predictions.model)`
/** Of a row of `predictions`. Two parts, because each finds its holds by the primary key: thousands may name a prediction. */
export const IS_HELD = sql`(
  exists (select 1 from holds where holds.prediction_id = '' and ${COVERS_APP_AND_MODEL})
  or exists (select 1 from holds where holds.prediction_id = predictions.id and ${COVERS_APP_AND_MODEL}))`
export const HAS_HOLDS = sql`exists (select 1 from holds)`

/** The apps whose jobs are all held: the rows of their queues, perhaps thousands, need not be read. */
export function createSelectHeldApps(db: Db): () => AppId[] | 'all' {
  const select = prepare<AppId | ''>(
    db,
    sql`select app_id from holds where prediction_id = '' and model = ''`,
  ).pluck()
  return () => {
    const heldApps = select.all()
    return heldApps.includes('') ? 'all' : (heldApps as AppId[])
  }
}

export function createHoldStore(db: Db, notify: () => void): HoldStore {
  return {
    async addHold({ reason, why, since, ...target }) {
      const row = { ...toColumns(target), reason, why, since }
      return db.insert(holds).values(row).onConflictDoNothing().run().changes > 0
    },

    async removeHold(target) {
      const { predictionId, appId, model } = toColumns(target)
      const isThisHold = and(
        eq(holds.predictionId, predictionId),
        eq(holds.appId, appId),
        eq(holds.model, model),
      )
      const isRemoved = db.delete(holds).where(isThisHold).run().changes > 0
      if (isRemoved) notify()
      return isRemoved
    },

    listHolds: async () =>
      db.select().from(holds).where(eq(holds.predictionId, '')).orderBy(asc(holds.since)).all().map(toHold),
  }
}

const toColumns = ({ predictionId, appId, model }: HoldTarget) => ({
  predictionId: predictionId ?? '',
  appId: appId ?? '',
  model: model ?? '',
})

const toHold = ({ predictionId, appId, model, ...rest }: typeof holds.$inferSelect): Hold => ({
  ...ALL_JOBS,
  ...(predictionId !== '' && { predictionId }),
  ...(appId !== '' && { appId: appId as AppId }),
  ...(model !== '' && { model: model as VideoModel }),
  ...rest,
})
