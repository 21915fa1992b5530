/**
 * Parses the arguments of `npm run app --`.
 * Invariant: every argument is used or reported, and all faults of the flags are reported together.
 */
import { parseArgs } from 'node:util'
import { didYouMean } from '../../config/did-you-mean.ts'
import type { AppLimits } from '../../domain/app-limits.ts'
import { StartupError } from '../../domain/errors.ts'
import {
  ARGUMENT_COUNTS,
  FLAGS,
  type Flag,
  type FlagName,
  HELP,
  LIMIT_FLAGS,
  VERBS,
  type Verb,
} from './flags.ts'

export interface ParsedCommand {
  verb: Verb
  /** A name or a key; null if it is optional and not given. */
  subject: string | null
  /** All arguments of a verb that takes several. */
  subjects: readonly string[]
  /** The limits that were given. */
  limits: Partial<AppLimits>
  expiresAt: number | null
  graceMs: number | null
  why: string | null
  keepKeys: boolean
  revokeSince: number | null
  held: boolean
  all: boolean
  json: boolean
}

type FlagTexts = Map<FlagName, string | null>

/** Returns null if help was requested. */
export function parseArguments(args: string[], now: number): ParsedCommand | null {
  const options = Object.fromEntries(
    Object.entries(FLAGS).map(([name, flag]) => [
      name,
      { type: 'value' in flag ? ('string' as const) : ('boolean' as const) },
    ]),
  )
  const { positionals, tokens } = parseArgs({
    args,
    options,
    strict: false,
    allowPositionals: true,
    tokens: true,
  })
  // parseArgs would read it as one flag per letter.
  const dashed = args.find(arg => /^-[a-z]{2}/i.test(arg))
  if (dashed !== undefined && !positionals.includes(dashed))
    throw new StartupError(asSentence(noSuchFlag(dashed)))
  const typed = tokens.filter(token => token.kind === 'option')
  if (typed.some(({ name }) => name === 'help' || name === 'h')) return null
  const [name, ...subjects] = positionals
  const [subject] = subjects
  const verb = parseVerb(name)

  const flagTexts: FlagTexts = new Map()
  const faults = typed.flatMap(({ name, rawName, value, inlineValue }) => {
    const fault = findFlagFault(verb, name, rawName, value, inlineValue === true)
    if (fault === null && flagTexts.has(name as FlagName)) return `${rawName} is given twice`
    if (fault === null) flagTexts.set(name as FlagName, value ?? null)
    return fault ?? []
  })
  const values = new Map<FlagName, number | null>()
  for (const [name, text] of flagTexts) {
    const result = (FLAGS[name] as Flag).parse?.(text ?? '', now)
    if (result === undefined) continue
    if ('value' in result) values.set(name, result.value)
    else faults.push(`--${name} "${text}": expected ${result.expected}`)
  }
  if (flagTexts.has('keep-keys') && flagTexts.has('revoke-since'))
    faults.push('--keep-keys and --revoke-since exclude each other')
  if (faults.length > 0) throw new StartupError(faults.map(asSentence).join('\n'))

  const { min, max } = ARGUMENT_COUNTS[verb] ?? { min: 1, max: 1 }
  if (subjects.length > max) {
    const extra = subjects.slice(0, max + 1).map(argument => `"${argument}"`)
    throw new StartupError(`too many arguments: ${extra.join(' and ')}.\n${usageLine(verb)}`)
  }
  if (subjects.length < min) throw new StartupError(`"${verb}" lacks its argument.\n${usageLine(verb)}`)
  const limits = Object.fromEntries(
    Object.entries(LIMIT_FLAGS).flatMap(([flag, limit]) =>
      values.has(flag as FlagName) ? [[limit, values.get(flag as FlagName)]] : [],
    ),
  )
  return {
    verb,
    subject: subject ?? null,
    subjects,
    limits,
    expiresAt: values.get('expires') ?? null,
    graceMs: values.get('grace') ?? null,
    why: flagTexts.get('why') ?? null,
    keepKeys: flagTexts.has('keep-keys'),
    revokeSince: values.get('revoke-since') ?? null,
    held: flagTexts.has('held'),
    all: flagTexts.has('all'),
    json: flagTexts.has('json'),
  }
}

const asSentence = (sentence: string) => (sentence.endsWith('?') ? sentence : `${sentence}.`)
const noSuchFlag = (flag: string) =>
  `there is no ${flag}${didYouMean(flag.replace(/^-+/, ''), Object.keys(FLAGS)).replace('mean ', 'mean --')}`
const usageLine = (verb: Verb) => `  npm run app -- ${VERBS[verb].usage}`

function parseVerb(name: string | undefined): Verb {
  if (name !== undefined && Object.hasOwn(VERBS, name)) return name as Verb
  if (name === undefined) throw new StartupError(`no verb is given.\n\n${HELP}`)
  const verbs = Object.keys(VERBS)
  const hint = didYouMean(name, verbs) || `; there are ${verbs.join(', ')}`
  throw new StartupError(asSentence(`there is no verb "${name}"${hint}`))
}

function findFlagFault(
  verb: Verb,
  name: string,
  rawName: string,
  value: string | undefined,
  isInline: boolean,
): string | null {
  if (!Object.hasOwn(FLAGS, name) || !rawName.startsWith('--')) return noSuchFlag(rawName)
  const flag: Flag = FLAGS[name as FlagName]
  if (!flag.verbs.includes(verb)) return `${rawName} belongs to ${flag.verbs.join(' and ')}, not to ${verb}`
  if (flag.value === undefined) return isInline ? `${rawName} takes no value` : null
  if (value === undefined || (!isInline && value.startsWith('--')))
    return `${rawName} lacks its ${flag.value}`
  return null
}
