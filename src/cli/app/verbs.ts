/**
 * The verbs of `npm run app`, one function each: from the parsed command and the store to a result as text and JSON.
 * Invariant: a key is only in the result of the command that created it.
 */
import { createKey, hashesEqual, PREFIX_LENGTH, parseKey } from '../../auth/api-key.ts'
import { didYouMean } from '../../config/did-you-mean.ts'
import { fullScope } from '../../domain/access-scope.ts'
import { StartupError } from '../../domain/errors.ts'
import { ALL_JOBS, coversAllJobs } from '../../domain/hold.ts'
import { MICROS_PER_USD } from '../../domain/models.ts'
import { DAY_MS } from '../../domain/time.ts'
import type { App, Store } from '../../store/store.ts'
import type { ParsedCommand } from './arguments.ts'
import type { CommandResult } from './command-result.ts'
import { LIMIT_FLAGS, type Verb } from './flags.ts'
import { formatApp, formatKeyRow, formatLimits, formatUtc, keyToJson, limitsToJson, toIso } from './format.ts'
import { cancelJobs, describeQueue, releaseJobs } from './held-jobs.ts'

const APP_NAME_PATTERN = /^[\w.-]{1,64}$/
/** The prefix as `list` shows it, or the whole key. */
const KEY_PATTERN = /^(rsh_[\w-]{8})(?:…|\.\.\.|([\w-]{32}))?$/
/** An error lists the names of the apps, if there are no more than this. */
const MAX_LISTED_NAMES = 5
const KEEP_KEY_NOTE = "Keep it on the app's server; it is not shown again."

/** The verbs that need an open store. */
export const VERB_ACTIONS: Record<
  Exclude<Verb, 'backup' | 'restored'>,
  (command: ParsedCommand, store: Store, now: number) => Promise<CommandResult>
> = {
  async create({ subject, limits, expiresAt }, store, now) {
    const name = subject!
    // Otherwise a key that was pasted in the wrong place would be stored and shown.
    if (name.startsWith('rsh_'))
      throw new StartupError(`"${name}" is not a valid name: it begins like a key.`)
    if (!APP_NAME_PATTERN.test(name))
      throw new StartupError(
        `"${name}" is not a valid name: expected 1 to 64 letters, digits, dots, dashes or underscores.`,
      )
    const { key, prefix, hash } = createKey()
    const app = await store.createApp(name, now, { limits, key: { prefix, hash, expiresAt } })
    if (app === null) throw new StartupError(`there is an app named "${name}" already.`)
    return {
      text: `App "${name}" is created. Its key${validUntil(expiresAt)}:\n\n  ${key}\n\n${KEEP_KEY_NOTE} Its limits:\n\n${formatLimits(app.limits)}`,
      json: { id: app.id, name, key, expiresAt: toIso(expiresAt), limits: limitsToJson(app.limits) },
    }
  },

  async list({ subject }, store, now) {
    const apps = subject === null ? await store.listApps() : [await findApp(store, subject)]
    const shown = await Promise.all(
      apps.map(async app => {
        const [usage, keys] = await Promise.all([store.usage(fullScope(app.id), now), store.listKeys(app.id)])
        const { id, name, limits } = app
        const { inFlight, queued, spent } = usage
        return {
          text: formatApp(app, usage, keys, now),
          json: {
            id,
            name,
            limits: limitsToJson(limits),
            usage: { inFlight, queued, spentThisMonthUsd: spent / MICROS_PER_USD },
            keys: keys.map(keyToJson),
          },
        }
      }),
    )
    return {
      text: shown.map(({ text }) => text).join('\n\n') || 'There is no app yet; "create NAME" creates one.',
      json: shown.map(({ json }) => json),
    }
  },

  async set({ subject, limits }, store) {
    if (Object.keys(limits).length === 0) {
      const flags = Object.keys(LIMIT_FLAGS).map(flag => `--${flag}`)
      throw new StartupError(`nothing to set: give one or more of\n  ${flags.join(' ')}.`)
    }
    const { id, name } = await findApp(store, subject!)
    const app = (await store.setLimits(id, limits))!
    return {
      text: `The limits of "${name}" are now:\n\n${formatLimits(app.limits)}`,
      json: { id, name, limits: limitsToJson(app.limits) },
    }
  },

  async rotate({ subject, expiresAt, graceMs }, store, now) {
    const { id, name } = await findApp(store, subject!)
    const { key, prefix, hash } = createKey()
    const earlier = await store.rotateKeys(id, { prefix, hash, expiresAt }, now + (graceMs ?? DAY_MS), now)
    const earlierKeysText =
      earlier.length === 0
        ? 'It had no other valid key.'
        : `Its earlier keys:\n\n${earlier.map(each => `  ${formatKeyRow(each, now).join('  ')}`).join('\n')}`
    return {
      text: `The new key of "${name}"${validUntil(expiresAt)}:\n\n  ${key}\n\n${KEEP_KEY_NOTE} ${earlierKeysText}`,
      json: { id, name, key, expiresAt: toIso(expiresAt), earlierKeys: earlier.map(keyToJson) },
    }
  },

  async revoke({ subject, all }, store, now) {
    const { app, revoked } = all ? await revokeAllKeys(store, subject!) : await revokeOneKey(store, subject!)
    const remaining = (await store.listKeys(app.id)).filter(
      key => key.expiresAt === null || key.expiresAt > now,
    )
    const revokedText = all
      ? `Every key of "${app.name}" is revoked:\n\n${revoked.map(prefix => `  ${prefix}…\n`).join('')}\n`
      : `The key ${revoked[0]}… of "${app.name}" is revoked. `
    const remainingText =
      remaining.length > 0
        ? `The app has ${remaining.length} more.`
        : `"rotate ${app.name}" creates a new one.`
    return {
      text: revokedText + remainingText,
      json: { id: app.id, name: app.name, revoked, keys: remaining.map(keyToJson) },
    }
  },

  async hold({ why }, store, now) {
    const isNew = await store.addHold({ ...ALL_JOBS, reason: 'operator', why, since: now })
    const hold = (await store.listHolds()).find(coversAllJobs)
    const since = hold?.since ?? now
    const whyText = hold?.why ? ` ("${hold.why}")` : ''
    return {
      text: isNew
        ? 'All submits are held: jobs stay QUEUED. "release" ends the hold.'
        : `All submits are held already, since ${formatUtc(since)}${whyText}.`,
      json: { held: true, isNew, since: toIso(since), why: hold?.why ?? null },
    }
  },

  async release({ subjects }, store) {
    if (subjects.length > 0) return releaseJobs(store, subjects)
    if ((await store.lostTimes()).some(({ areKeysDecided }) => !areKeysDecided))
      throw new StartupError(
        'the database is a restored copy: say first which of its keys stay valid, with "restored".',
      )
    const isReleased = await store.removeHold(ALL_JOBS)
    return {
      text: isReleased ? 'Submits are released.' : 'Submits were not held.',
      json: { held: false, isReleased },
    }
  },

  queue: ({ held }, store) => describeQueue(store, held),
  cancel: ({ subjects }, store, now) => cancelJobs(store, subjects, now),
}

const validUntil = (expiresAt: number | null): string =>
  expiresAt === null ? '' : `, valid until ${formatUtc(expiresAt)}`

async function findApp(store: Store, name: string): Promise<App> {
  const app = await store.findAppByName(name)
  if (app !== null) return app
  const names = (await store.listApps()).map(each => each.name)
  const listedNames =
    names.length > 0 && names.length <= MAX_LISTED_NAMES ? `; there are ${names.join(', ')}.` : '.'
  throw new StartupError(`there is no app named "${name}"${didYouMean(name, names) || listedNames}`)
}

async function revokeAllKeys(store: Store, name: string) {
  const app = await findApp(store, name)
  const revoked = await store.revokeAllKeys(app.id)
  if (revoked.length === 0) throw new StartupError(`the app "${name}" has no key.`)
  return { app, revoked }
}

async function revokeOneKey(store: Store, text: string) {
  const [key = '', prefix, secret] = KEY_PATTERN.exec(text) ?? []
  if (prefix === undefined)
    throw new StartupError(
      text.startsWith('rsh_')
        ? `"${text}" is not a key: give its first ${PREFIX_LENGTH} characters, or all 44.`
        : `"${text}" is not a key: a key begins with rsh_. "revoke NAME --all" revokes every key of an app.`,
    )
  const storedKey = await store.findKey(prefix)
  const app = storedKey && (await store.getApp(storedKey.appId))
  if (!app) throw new StartupError(`there is no key that begins with "${prefix}".`)
  if (secret !== undefined && !hashesEqual(parseKey(key)!.hash, storedKey.hash))
    throw new StartupError(
      `the key of "${app.name}" that begins with "${prefix}" is another one. Nothing was revoked.`,
    )
  if (!(await store.revokeKey(prefix)))
    throw new StartupError(`there is no key that begins with "${prefix}".`)
  return { app, revoked: [prefix] }
}
