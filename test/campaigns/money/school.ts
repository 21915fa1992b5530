/**
 * Jobs before the storm that all go well: from them the gateway learns how long a job takes here. Taught nothing but the
 * catalogue's minutes, it would leave a job whose webhook was lost alone for longer than the whole run.
 */
import { rest } from '../../support/rest.ts'
import { until } from '../../support/until.ts'
import type { CustomerOptions } from './customer.ts'
import { createDesk, lasting } from './order.ts'

export interface SchoolOptions extends Omit<CustomerOptions, 'enough'> {
  signal: AbortSignal
}

const PATIENCE_MS = 30_000
/** On a busy machine one may take longer; it is no reason to wait. */
const ENOUGH = 0.9
/** Jobs at once. */
const LINES = 10

export async function teach(options: SchoolOptions): Promise<void> {
  const { app, ask, image, plan, random, told, truth, signal } = options
  const desk = createDesk(app, ask, image, told)
  const lessons = plan.models.flatMap(model => Array<string>(plan.lessons).fill(model))
  const most = lessons.length
  let n = 0
  async function line(): Promise<void> {
    for (let model = lessons.pop(); model !== undefined; model = lessons.pop())
      await desk.video(n++, model, lasting(random, plan.tenths)).send()
  }
  await Promise.all(Array.from({ length: LINES }, line))
  await until(async () => {
    await rest(50, signal)
    return signal.aborted || truth.unfinished() <= (1 - ENOUGH) * most
  }, PATIENCE_MS)
}
