/**
 * What both sides of the queue use, made once a connection: each of these prepares statements.
 */
import { createSpending, type Spending } from './app-usage.ts'
import type { Db } from './connection.ts'
import { createOrder, type Order } from './queue/fair-order.ts'
import { createPace, type Paces } from './queue/submit-circuit.ts'

export interface SharedStatements {
  order: Order
  paces: Paces
  spending: Spending
}

export const createSharedStatements = (db: Db): SharedStatements => ({
  order: createOrder(db),
  paces: createPace(db),
  spending: createSpending(db),
})
