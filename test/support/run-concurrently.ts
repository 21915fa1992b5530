/**
 * The rows of a table, each played in a world of its own, some at once.
 * Invariant: no more than eight worlds at a time, so that each gets on with its work on a small and busy machine.
 */
const MAX_CONCURRENT = 8

/**
 * Answers with what each row brought, in their order.
 * @throws which row failed, and why, once all that were begun have ended
 */
export async function runConcurrently<Row extends readonly [what: string, ...more: unknown[]], Result = void>(
  rows: readonly Row[],
  run: (row: Row) => Promise<Result>,
): Promise<Result[]> {
  const results: Result[] = []
  const queue = [...rows.entries()]
  const failures: Error[] = []
  async function worker(): Promise<void> {
    for (let next = queue.shift(); next !== undefined && failures.length === 0; next = queue.shift()) {
      const [i, row] = next
      try {
        results[i] = await run(row)
      } catch (cause) {
        failures.push(new Error(row[0], { cause }))
      }
    }
  }
  await Promise.all(Array.from({ length: MAX_CONCURRENT }, worker))
  if (failures[0] !== undefined) throw failures[0]
  return results
}
