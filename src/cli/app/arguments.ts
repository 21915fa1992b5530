/**
 * What was typed after `npm run app --`, read or refused whole.
 * Invariant: nothing typed is overlooked, and all faults of the flags are told at once.
 */
import { parseArgs } from 'node:util'
import { didYouMean } from '../../config/did-you-mean.ts'
import type { Limits } from '../../domain/app-limits.ts'
import { StartError } from '../../domain/errors.ts'
import { FLAGS, type Flag, type FlagName, HELP, LIMIT_FLAGS, VERBS, type Verb } from './flags.ts'

export interface Call {
  verb: Verb
  /** A name or a key; null where the verb can do without and none was given. */
  subject: string | null
  /** Those that were given. */
  limits: Partial<Limits>
  expiresAt: number | null
  graceMs: number | null
  all: boolean
  json: boolean
}

type Given = Map<FlagName, string | null>

/** Null: help is wanted. */
export function readArguments(args: string[], now: number): Call | null {
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
  // Else it is read as a flag a letter.
  const dashed = args.find(arg => /^-[a-z]{2}/i.test(arg))
  if (dashed !== undefined && !positionals.includes(dashed)) throw new StartError(ended(unknown(dashed)))
  const typed = tokens.filter(token => token.kind === 'option')
  if (typed.some(({ name }) => name === 'help' || name === 'h')) return null
  const [name, subject, ...rest] = positionals
  const verb = readVerb(name)

  const given: Given = new Map()
  const faults = typed.flatMap(({ name, rawName, value, inlineValue }) => {
    const fault = faultOf(verb, name, rawName, value, inlineValue === true)
    if (fault === null && given.has(name as FlagName)) return `${rawName} is given twice`
    if (fault === null) given.set(name as FlagName, value ?? null)
    return fault ?? []
  })
  const values = new Map<FlagName, number | null>()
  for (const [name, text] of given) {
    const answer = (FLAGS[name] as Flag).read?.(text ?? '', now)
    if (answer === undefined) continue
    if ('value' in answer) values.set(name, answer.value)
    else faults.push(`--${name} "${text}": expected ${answer.expected}`)
  }
  if (faults.length > 0) throw new StartError(faults.map(ended).join('\n'))

  if (rest.length > 0) throw new StartError(`one at a time: "${subject}", or "${rest[0]}"?\n${usage(verb)}`)
  if (subject === undefined && verb !== 'list') throw new StartError(`"${verb}" of what?\n${usage(verb)}`)
  const limits = Object.fromEntries(
    Object.entries(LIMIT_FLAGS).flatMap(([flag, limit]) =>
      values.has(flag as FlagName) ? [[limit, values.get(flag as FlagName)]] : [],
    ),
  )
  return {
    verb,
    subject: subject ?? null,
    limits,
    expiresAt: values.get('expires') ?? null,
    graceMs: values.get('grace') ?? null,
    all: given.has('all'),
    json: given.has('json'),
  }
}

const ended = (sentence: string) => (sentence.endsWith('?') ? sentence : `${sentence}.`)
const unknown = (flag: string) =>
  `there is no ${flag}${didYouMean(flag.replace(/^-+/, ''), Object.keys(FLAGS)).replace('mean ', 'mean --')}`
const usage = (verb: Verb) => `  npm run app -- ${VERBS[verb].usage}`

function readVerb(name: string | undefined): Verb {
  if (name !== undefined && Object.hasOwn(VERBS, name)) return name as Verb
  if (name === undefined) throw new StartError(`what is to be done?\n\n${HELP}`)
  const verbs = Object.keys(VERBS)
  const hint = didYouMean(name, verbs) || `; there are ${verbs.join(', ')}`
  throw new StartError(ended(`there is no verb "${name}"${hint}`))
}

function faultOf(
  verb: Verb,
  name: string,
  rawName: string,
  value: string | undefined,
  isInline: boolean,
): string | null {
  if (!Object.hasOwn(FLAGS, name) || !rawName.startsWith('--')) return unknown(rawName)
  const flag: Flag = FLAGS[name as FlagName]
  if (!flag.verbs.includes(verb)) return `${rawName} belongs to ${flag.verbs.join(' and ')}, not to ${verb}`
  if (flag.value === undefined) return isInline ? `${rawName} takes no value` : null
  if (value === undefined || (!isInline && value.startsWith('--')))
    return `${rawName} lacks its ${flag.value}`
  return null
}
