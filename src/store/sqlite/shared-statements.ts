/**
 * What both sides of the queue use, made once a connection: each of these prepares statements.
 */
import { createMonthlySpend, type MonthlySpend } from './app-usage.ts'
import type { Db } from './connection.ts'
import { createFairOrder, type FairOrder } from './queue/fair-order.ts'
import { createSubmitThrottle, type SubmitThrottle } from './queue/submit-throttle.ts'

export interface SharedStatements {
  fairOrder: FairOrder
  submitThrottle: SubmitThrottle
  monthlySpend: MonthlySpend
}

export const createSharedStatements = (db: Db): SharedStatements => ({
  fairOrder: createFairOrder(db),
  submitThrottle: createSubmitThrottle(db),
  monthlySpend: createMonthlySpend(db),
})
