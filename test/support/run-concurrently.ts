/**
 * Runs the rows of a table concurrently.
 * Invariant: at most eight run at a time, so that each gets on with its work on a small and busy machine.
 */
const MAX_CONCURRENT = 8

/**
 * Returns the results in the order of the rows.
 * @throws the title of the row that failed, and why, once all started rows have ended
 */
export async function runConcurrently<
  Row extends readonly [title: string, ...rest: unknown[]],
  Result = void,
>(rows: readonly Row[], run: (row: Row) => Promise<Result>): Promise<Result[]> {
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
