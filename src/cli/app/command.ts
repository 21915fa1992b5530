/**
 * `npm run app` as a function: from what was typed to what is printed.
 * Invariant: no fault repeats more of a key than its visible beginning, wherever it was typed.
 */
import { StartupError } from '../../domain/errors.ts'
import type { Store } from '../../store/store.ts'
import { parseArguments } from './arguments.ts'
import { FLAGS, HELP } from './flags.ts'
import { type Env, withStore } from './open-store.ts'
import { VERB_ACTIONS } from './verbs.ts'

/**
 * @param lockTimeoutMs how long another process may hold the database; default 5 s
 * @throws StartupError for whoever typed it
 */
export async function runCommand(
  args: string[],
  env: Env,
  now: number,
  lockTimeoutMs?: number,
): Promise<string> {
  try {
    rejectFlagsKeptByNpm(env)
    const parsed = parseArguments(args, now)
    if (parsed === null) return HELP
    const runVerb = (store: Store) => VERB_ACTIONS[parsed.verb](parsed, store, now)
    const { text, json } = await withStore(env, parsed.verb === 'create', runVerb, lockTimeoutMs)
    return parsed.json ? JSON.stringify(json) : text
  } catch (error) {
    if (!(error instanceof StartupError)) throw error
    throw new StartupError(error.message.replace(/(rsh_[\w-]{8})[\w-]+/g, '$1…'))
  }
}

/** npm's own, which may well be set. */
const NPM_OWN_FLAGS = ['json', 'all']

/** Without `--` npm takes the flags for its own: an app would be made without its limits, and nobody told. */
function rejectFlagsKeptByNpm(env: Env): void {
  const keptFlag = Object.keys(FLAGS).find(
    flag => !NPM_OWN_FLAGS.includes(flag) && env[`npm_config_${flag.replaceAll('-', '_')}`] !== undefined,
  )
  if (keptFlag !== undefined)
    throw new StartupError(
      `npm kept --${keptFlag} for itself: type "npm run app -- ...", with the two dashes.`,
    )
}
