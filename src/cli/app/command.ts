/**
 * `npm run app` as a function: from what was typed to what is printed.
 * Invariant: no fault repeats more of a key than its visible beginning, wherever it was typed.
 */
import { StartError } from '../../domain/errors.ts'
import type { Store } from '../../store/store.ts'
import { readArguments } from './arguments.ts'
import { FLAGS, HELP } from './flags.ts'
import { type Env, withStore } from './open-store.ts'
import { DO } from './verbs.ts'

/**
 * @param patienceMs how long another process may hold the database; default 5 s
 * @throws StartError for whoever typed it
 */
export async function command(args: string[], env: Env, now: number, patienceMs?: number): Promise<string> {
  try {
    heedNpm(env)
    const call = readArguments(args, now)
    if (call === null) return HELP
    const ask = (store: Store) => DO[call.verb](call, store, now)
    const { text, json } = await withStore(env, call.verb === 'create', ask, patienceMs)
    return call.json ? JSON.stringify(json) : text
  } catch (error) {
    if (!(error instanceof StartError)) throw error
    throw new StartError(error.message.replace(/(rsh_[\w-]{8})[\w-]+/g, '$1…'))
  }
}

/** npm's own, which may well be set. */
const NPMS = ['json', 'all']

/** Without `--` npm takes the flags for its own: an app would be made without its limits, and nobody told. */
function heedNpm(env: Env): void {
  const kept = Object.keys(FLAGS).find(
    flag => !NPMS.includes(flag) && env[`npm_config_${flag.replaceAll('-', '_')}`] !== undefined,
  )
  if (kept !== undefined)
    throw new StartError(`npm kept --${kept} for itself: type "npm run app -- ...", with the two dashes.`)
}
