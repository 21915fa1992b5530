/**
 * The rows of a table, each played in a world of its own, some at once.
 * Invariant: no more than eight worlds at a time, so that each gets on with its work on a small and busy machine.
 */
const AT_ONCE = 8

/**
 * Answers with what each row brought, in their order.
 * @throws which row failed, and why, once all that were begun have ended
 */
export async function sideBySide<Row extends readonly [what: string, ...more: unknown[]], Told = void>(
  rows: readonly Row[],
  play: (row: Row) => Promise<Told>,
): Promise<Told[]> {
  const told: Told[] = []
  const waiting = [...rows.entries()]
  const failures: Error[] = []
  async function line(): Promise<void> {
    for (let next = waiting.shift(); next !== undefined && failures.length === 0; next = waiting.shift()) {
      const [i, row] = next
      try {
        told[i] = await play(row)
      } catch (cause) {
        failures.push(new Error(row[0], { cause }))
      }
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, line))
  if (failures[0] !== undefined) throw failures[0]
  return told
}
