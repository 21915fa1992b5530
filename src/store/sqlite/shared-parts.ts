/**
 * Statements that several parts of the store use, prepared once for each connection.
 */
import { createMonthlySpend, type MonthlySpend } from './app-usage.ts'
import type { Db } from './connection.ts'
import { createFindPrediction, type FindPrediction } from './predictions/read.ts'
import { createFairOrder, type FairOrder } from './queue/fair-order.ts'
import { createSubmitThrottle, type SubmitThrottle } from './queue/submit-throttle.ts'

export interface SharedParts {
  findPrediction: FindPrediction
  fairOrder: FairOrder
  submitThrottle: SubmitThrottle
  monthlySpend: MonthlySpend
}

export const createSharedParts = (db: Db): SharedParts => ({
  findPrediction: createFindPrediction(db),
  fairOrder: createFairOrder(db),
  submitThrottle: createSubmitThrottle(db),
  monthlySpend: createMonthlySpend(db),
})
