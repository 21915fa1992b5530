/**
 * `npm run app` as a function: from the arguments to the printed text.
 * Invariant: an error message repeats no more of a key than its prefix, wherever the key was typed.
 */
import { StartupError } from '../../domain/errors.ts'
import type { Store } from '../../store/store.ts'
import { type ParsedCommand, parseArguments } from './arguments.ts'
import { backUp } from './backup.ts'
import type { CommandResult } from './command-result.ts'
import { FLAGS, HELP } from './flags.ts'
import { declareRestored } from './restored.ts'
import { VERB_ACTIONS } from './verbs.ts'
import { type Env, withStore } from './with-store.ts'

/**
 * @param lockTimeoutMs how long to wait for another process's lock; default 5 s
 * @throws StartupError with a message for the operator
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
    const { text, json } = await runVerb(parsed, env, now, lockTimeoutMs)
    return parsed.json ? JSON.stringify(json) : text
  } catch (error) {
    if (!(error instanceof StartupError)) throw error
    throw new StartupError(error.message.replace(/(rsh_[\w-]{8})[\w-]+/g, '$1…'))
  }
}

/** A backup opens no store: that would migrate the database first. */
function runVerb(
  parsed: ParsedCommand,
  env: Env,
  now: number,
  lockTimeoutMs?: number,
): Promise<CommandResult> {
  const { verb } = parsed
  if (verb === 'backup') return backUp(env, parsed.subject!, lockTimeoutMs)
  if (verb === 'restored') return declareRestored(parsed, env, now, lockTimeoutMs)
  const act = (store: Store) => VERB_ACTIONS[verb](parsed, store, now)
  return withStore(env, verb === 'create', act, lockTimeoutMs)
}

/** Flags that npm itself has, so they may be set for another reason. */
const NPM_OWN_FLAGS = ['json', 'all']

/** Without `--` npm takes the flags as its own, and an app would silently be created without its limits. */
function rejectFlagsKeptByNpm(env: Env): void {
  const keptFlag = Object.keys(FLAGS).find(
    flag => !NPM_OWN_FLAGS.includes(flag) && env[`npm_config_${flag.replaceAll('-', '_')}`] !== undefined,
  )
  if (keptFlag !== undefined)
    throw new StartupError(
      `npm kept --${keptFlag} for itself: type "npm run app -- ...", with the two dashes.`,
    )
}
