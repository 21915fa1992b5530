/**
 * What `npm run app` does, a function a verb: from the call and the store to an answer in both forms.
 * Invariant: a key is in the answer that made it, and nowhere else.
 */

import { createKey, PREFIX, readKey, sameHash } from '../../auth/api-key.ts'
import { didYouMean } from '../../config/did-you-mean.ts'
import { wholeOf } from '../../domain/access-scope.ts'
import { StartError } from '../../domain/errors.ts'
import { MICRO_USD } from '../../domain/models.ts'
import type { App, Store } from '../../store/store.ts'
import type { Call } from './arguments.ts'
import { LIMIT_FLAGS, type Verb } from './flags.ts'
import { block, inUtc, iso, keyForMachine, keyRow, limitRows, limitsForMachine } from './format.ts'

export interface Answer {
  text: string
  json: unknown
}

const NAME = /^[\w.-]{1,64}$/
/** As `list` shows it, or the whole. */
const KEY = /^(rsh_[\w-]{8})(?:…|\.\.\.|([\w-]{32}))?$/
const DAY = 24 * 60 * 60 * 1000
/** So many names stand in a sentence. */
const FEW = 5
const ONCE = "Keep it on the app's server; it is not shown again."

export const DO: Record<Verb, (call: Call, store: Store, now: number) => Promise<Answer>> = {
  async create({ subject, limits, expiresAt }, store, now) {
    const name = subject!
    // Or a secret that was pasted in the wrong place would be kept, and shown.
    if (name.startsWith('rsh_')) throw new StartError(`"${name}" is no name: it begins like a key.`)
    if (!NAME.test(name))
      throw new StartError(`"${name}" is no name: 1 to 64 letters, digits, dots, dashes or underscores.`)
    const { key, prefix, hash } = createKey()
    const app = await store.createApp(name, now, { limits, key: { prefix, hash, expiresAt } })
    if (app === null) throw new StartError(`there is an app named "${name}" already.`)
    return {
      text: `App "${name}" is there. Its key${until(expiresAt)}:\n\n  ${key}\n\n${ONCE} Its limits:\n\n${limitRows(app.limits)}`,
      json: { id: app.id, name, key, expiresAt: iso(expiresAt), limits: limitsForMachine(app.limits) },
    }
  },

  async list({ subject }, store, now) {
    const apps = subject === null ? await store.listApps() : [await named(store, subject)]
    const shown = await Promise.all(
      apps.map(async app => {
        const [usage, keys] = await Promise.all([store.usage(wholeOf(app.id), now), store.keysOf(app.id)])
        const { id, name, limits } = app
        const { inFlight, queued, spent } = usage
        return {
          text: block(app, usage, keys, now),
          json: {
            id,
            name,
            limits: limitsForMachine(limits),
            usage: { inFlight, queued, spentThisMonthUsd: spent / MICRO_USD },
            keys: keys.map(keyForMachine),
          },
        }
      }),
    )
    return {
      text: shown.map(({ text }) => text).join('\n\n') || 'There is no app yet; "create NAME" makes one.',
      json: shown.map(({ json }) => json),
    }
  },

  async set({ subject, limits }, store) {
    if (Object.keys(limits).length === 0) {
      const flags = Object.keys(LIMIT_FLAGS).map(flag => `--${flag}`)
      throw new StartError(`nothing to set: give one or more of\n  ${flags.join(' ')}.`)
    }
    const { id, name } = await named(store, subject!)
    const app = (await store.setLimits(id, limits))!
    return {
      text: `The limits of "${name}" are now:\n\n${limitRows(app.limits)}`,
      json: { id, name, limits: limitsForMachine(app.limits) },
    }
  },

  async rotate({ subject, expiresAt, graceMs }, store, now) {
    const { id, name } = await named(store, subject!)
    const { key, prefix, hash } = createKey()
    const earlier = await store.rotateKeys(id, { prefix, hash, expiresAt }, now + (graceMs ?? DAY), now)
    const fate =
      earlier.length === 0
        ? 'It had no other that was good.'
        : `Its earlier keys:\n\n${earlier.map(each => `  ${keyRow(each, now).join('  ')}`).join('\n')}`
    return {
      text: `The new key of "${name}"${until(expiresAt)}:\n\n  ${key}\n\n${ONCE} ${fate}`,
      json: { id, name, key, expiresAt: iso(expiresAt), earlierKeys: earlier.map(keyForMachine) },
    }
  },

  async revoke({ subject, all }, store, now) {
    const { app, revoked } = all ? await allOf(store, subject!) : await oneOf(store, subject!)
    const left = (await store.keysOf(app.id)).filter(key => key.expiresAt === null || key.expiresAt > now)
    const which = all
      ? `No key of "${app.name}" is good any more:\n\n${revoked.map(prefix => `  ${prefix}…\n`).join('')}\n`
      : `The key ${revoked[0]}… of "${app.name}" is no longer good. `
    const more = left.length > 0 ? `It has ${left.length} more.` : `"rotate ${app.name}" gives it a new one.`
    return {
      text: which + more,
      json: { id: app.id, name: app.name, revoked, keys: left.map(keyForMachine) },
    }
  },
}

const until = (expiresAt: number | null): string =>
  expiresAt === null ? '' : `, valid until ${inUtc(expiresAt)}`

async function named(store: Store, name: string): Promise<App> {
  const app = await store.appNamed(name)
  if (app !== null) return app
  const names = (await store.listApps()).map(each => each.name)
  const few = names.length > 0 && names.length <= FEW ? `; there are ${names.join(', ')}.` : '.'
  throw new StartError(`there is no app named "${name}"${didYouMean(name, names) || few}`)
}

async function allOf(store: Store, name: string) {
  const app = await named(store, name)
  const revoked = await store.revokeKeys(app.id)
  if (revoked.length === 0) throw new StartError(`the app "${name}" has no key.`)
  return { app, revoked }
}

async function oneOf(store: Store, text: string) {
  const [key = '', prefix, secret] = KEY.exec(text) ?? []
  if (prefix === undefined)
    throw new StartError(
      text.startsWith('rsh_')
        ? `"${text}" is no key: give its first ${PREFIX} characters, or all 44.`
        : `"${text}" is no key: one begins with rsh_. Every key of an app is taken back by "revoke NAME --all".`,
    )
  const known = await store.findKey(prefix)
  const app = known && (await store.app(known.appId))
  if (!app) throw new StartError(`there is no key that begins with "${prefix}".`)
  if (secret !== undefined && !sameHash(readKey(key)!.hash, known.hash))
    throw new StartError(
      `a key of "${app.name}" begins with "${prefix}" and goes on otherwise. Nothing was taken back.`,
    )
  if (!(await store.revokeKey(prefix))) throw new StartError(`there is no key that begins with "${prefix}".`)
  return { app, revoked: [prefix] }
}
