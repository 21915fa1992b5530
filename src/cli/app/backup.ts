/**
 * `npm run app -- backup FILE`.
 */
import { backUpDatabase } from '../../store/open-store.ts'
import type { CommandResult } from './command-result.ts'
import { COMMAND_LOCK_TIMEOUT_MS, type Env, findDatabase } from './with-store.ts'

export async function backUp(
  env: Env,
  file: string,
  lockTimeoutMs = COMMAND_LOCK_TIMEOUT_MS,
): Promise<CommandResult> {
  const { bytes, rows } = await backUpDatabase(findDatabase(env, false), file, lockTimeoutMs)
  const { predictions = 0, events = 0, apps = 0 } = rows
  return {
    text: `The database is copied to ${file}:\n\n  ${bytes} bytes, ${apps} apps, ${predictions} predictions, ${events} events\n\nThe copy passed SQLite's integrity check and has as many rows of each table.\nIt has prompts and secret keys: only its owner may read it (mode 0600).`,
    json: { file, bytes, rows },
  }
}
