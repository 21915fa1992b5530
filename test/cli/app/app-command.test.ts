import { existsSync } from 'node:fs'
import { readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { runCommand } from '../../../src/cli/app/command.ts'
import { parseDate, parseDollars, parseDuration } from '../../../src/cli/app/flag-values.ts'
import { formatDollars } from '../../../src/cli/app/format.ts'
import { StartupError } from '../../../src/domain/errors.ts'
import { clocksFrom } from '../../support/clocks.ts'
import { type Harness, startGateway, submit, take } from '../../support/gateway.ts'
import { emptyFolder, run } from '../../support/process.ts'
import { until } from '../../support/until.ts'

const NOW = Date.UTC(2026, 4, 17, 10, 30)
const HOUR = 60 * 60 * 1000
const DAY = 24 * HOUR
const SECRET = /rsh_[\w-]{40}/

/** A folder, and the command run in this process on the database in it. */
async function commandFixture() {
  const folder = await emptyFolder()
  const file = join(folder.path, 'rushes.db')
  let now = NOW
  const command = (...args: string[]) => runCommand(args, { DATABASE_URL: `file:${file}` }, now, 50)
  return {
    folder: folder.path,
    file,
    execute: command,
    /** The result as JSON. */
    // biome-ignore lint/suspicious/noExplicitAny: each verb has its own result
    executeJson: async (...args: string[]): Promise<any> => JSON.parse(await command(...args, '--json')),
    /** The message of its StartupError. */
    async failure(...args: string[]): Promise<string> {
      const outcome = await command(...args).catch((error: unknown) => error)
      expect(outcome).toBeInstanceOf(StartupError)
      return (outcome as StartupError).message
    },
    advanceClock: (ms: number) => {
      now += ms
    },
    [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
  }
}

const databaseDump = (file: string): string => {
  const db = new Database(file, { readonly: true })
  const tables = db.prepare("select name from sqlite_master where type = 'table'").pluck().all()
  const rows = tables.map(table => db.prepare(`select * from "${table}"`).all())
  db.close()
  return JSON.stringify(rows)
}

describe('npm run app', () => {
  test('creates, lists, sets, rotates and revokes, each key shown once', async () => {
    await using folder = await emptyFolder()
    const shown: string[] = []
    const type = async (...args: string[]) => {
      await using app = run('cli/app/main.ts', folder.path, {}, args)
      expect((await app.untilEnded()).code).toBe(0)
      expect(app.err).toBe('')
      shown.push(app.out)
      return app.out
    }
    const made = await type('create', 'web', '--max-queued', '100', '--expires', '2999-01-31')
    expect(made).toMatch(/^App "web" is created. Its key, valid until 2999-01-31 00:00:00 UTC:\n\n {2}rsh_/)
    const [first] = SECRET.exec(made)!
    expect(await type('list')).toMatch(/^web\n {2}in flight +0, no limit\n {2}queued +0 of 100\n/)
    expect(await type('set', 'web', '--max-in-flight', '3', '--max-queued', 'none')).toMatch(
      /in flight +3\n {2}queued +no limit\n/,
    )
    const rotated = JSON.parse(await type('rotate', 'web', '--json'))
    expect(rotated.earlierKeys).toMatchObject([{ prefix: first.slice(0, 12) }])
    expect(await type('revoke', first)).toMatch(/^The key rsh_.{8}… of "web" is revoked\. The app has 1 more/)
    for (const key of [first, rotated.key]) {
      expect(shown.filter(out => out.includes(key))).toHaveLength(1)
      expect(databaseDump(join(folder.path, 'data/rushes.db'))).not.toContain(key.slice(12))
    }
  })

  test('fails with a sentence on stderr, nothing on stdout, and exit code 1, also with --json', async () => {
    await using folder = await emptyFolder()
    await using app = run('cli/app/main.ts', folder.path, {}, ['list', '--json'])
    expect((await app.untilEnded()).code).toBe(1)
    expect([app.out, app.err]).toEqual([
      '',
      'app: DATABASE_URL: there is no database data/rushes.db. Name the gateway\'s, or create one with "create".\n',
    ])
    expect(await readdir(folder.path)).toEqual([])
  })

  test('run several times at once creates one app, and one key per rotation', async () => {
    await using folder = await emptyFolder()
    const atOnce = async (...args: string[]) => {
      const runs = Array.from({ length: 3 }, () => run('cli/app/main.ts', folder.path, {}, args))
      const codes = await Promise.all(runs.map(async each => (await each.untilEnded()).code))
      for (const each of runs) expect(each.err).toMatch(/^(app: there is an app named "web" already\.\n)?$/)
      return codes.filter(code => code === 0).length
    }
    expect(await atOnce('create', 'web')).toBe(1)
    expect(await atOnce('rotate', 'web')).toBe(3)
    const listed = await runCommand(
      ['list', '--json'],
      { DATABASE_URL: `file:${folder.path}/data/rushes.db` },
      NOW,
    )
    const ends = JSON.parse(listed)[0].keys.map((key: { expiresAt: string | null }) => key.expiresAt)
    expect([ends.length, ends.filter((end: unknown) => end === null)]).toEqual([4, [null]])
  })

  test('prints no line longer than 80 columns', async () => {
    await using d = await commandFixture()
    const name = 'n'.repeat(20)
    await d.execute('create', 'm'.repeat(64))
    const limitFlags = ['--max-in-flight', '--max-queued', '--submits-per-minute'].flatMap(flag => [
      flag,
      '1000000',
    ])
    await d.execute(
      'create',
      name,
      ...limitFlags,
      '--monthly-budget-usd',
      '999999.999999',
      '--expires',
      '9999-12-31',
    )
    const help = await d.execute('--help')
    const set = await d.execute('set', name, '--weight', '1000')
    const list = await d.execute('list')
    const rotated = await d.execute('rotate', name)
    for (const text of [help, set, list, rotated])
      for (const line of text.split('\n')) expect(line.length, line).toBeLessThanOrEqual(80)
    expect(list).toContain('of $999999.999999')
    for (const args of [['-h'], ['create', '--help'], ['--weigth', '-h']])
      expect(await d.execute(...args)).toBe(help)
  })

  test('set changes only the given limits, and "none" removes one', async () => {
    await using d = await commandFixture()
    const { limits } = await d.executeJson(
      'create',
      'web',
      '--monthly-budget-usd',
      '12.5',
      '--max-queued',
      '9',
    )
    expect(limits).toEqual({
      maxInFlight: null,
      maxQueued: 9,
      submitsPerMinute: null,
      monthlyBudgetUsd: 12.5,
      weight: 1,
    })
    const after = await d.executeJson(
      'set',
      'web',
      '--weight',
      '7',
      '--max-queued=none',
      '--submits-per-minute',
      '5',
    )
    expect(after.limits).toEqual({ ...limits, maxQueued: null, weight: 7, submitsPerMinute: 5 })
    const [listed] = await d.executeJson('list')
    expect(listed.limits).toEqual(after.limits)
  })

  test('rotate ends earlier keys after the grace period, but no key later than its own expiry', async () => {
    await using d = await commandFixture()
    await d.execute('create', 'web', '--expires', '2026-05-17T12:00Z')
    const ends = async (...args: string[]) =>
      (await d.executeJson('rotate', 'web', ...args)).earlierKeys.map(
        (key: { expiresAt: string }) => key.expiresAt,
      )
    expect(await ends()).toEqual(['2026-05-17T12:00:00.000Z'])
    expect(await ends('--grace', '30m')).toEqual(['2026-05-17T11:00:00.000Z', '2026-05-17T11:00:00.000Z'])
    d.advanceClock(HOUR)
    // Expired keys are not listed.
    expect(await ends('--grace', '0')).toEqual(['2026-05-17T11:30:00.000Z'])
    expect(await ends('--grace', '7d', '--expires', '2027-01-01')).toEqual(['2026-05-24T11:30:00.000Z'])
    const list = await d.execute('list')
    for (const end of ['ended 2026-05-17 11:30:00', 'ends 2026-05-24 11:30:00', 'ends 2027-01-01 00:00:00'])
      expect(list.split(`, ${end} UTC`)).toHaveLength(2)
    d.advanceClock(300 * DAY)
    expect(await d.execute('rotate', 'web')).toContain('It had no other valid key.')
  })

  test('revoke revokes exactly the given key, by its prefix or whole', async () => {
    await using d = await commandFixture()
    const { key: web } = await d.executeJson('create', 'web')
    const { key: other } = await d.executeJson('create', 'other')
    const prefix = web.slice(0, 12)
    expect(await d.failure('revoke', `${prefix}${other.slice(12)}`)).toBe(
      `the key of "web" that begins with "${prefix}" is another one. Nothing was revoked.`,
    )
    for (const near of [prefix.slice(0, -1), `${prefix}x`, web.slice(0, -1), `${web}x`, ` ${prefix}`, 'web'])
      expect(await d.failure('revoke', near)).toContain('is not a key')
    expect((await d.executeJson('list')).flatMap((app: { keys: unknown[] }) => app.keys)).toHaveLength(2)

    expect(await d.executeJson('revoke', `${prefix}…`)).toMatchObject({
      name: 'web',
      revoked: [prefix],
      keys: [],
    })
    expect(await d.failure('revoke', prefix)).toBe(`there is no key that begins with "${prefix}".`)
    expect(await d.execute('revoke', other)).toContain('"rotate other" creates a new one')
  })

  test('revoke NAME --all revokes every key of the app, and of no other', async () => {
    await using d = await commandFixture()
    for (const name of ['web', 'webs']) await d.execute('create', name)
    const { key } = await d.executeJson('rotate', 'web')
    expect(await d.failure('revoke', key, '--all')).not.toMatch(SECRET)
    expect(await d.failure('revoke', 'weob', '--all')).toContain('did you mean web?')
    expect((await d.executeJson('revoke', 'web', '--all')).revoked).toHaveLength(2)
    expect(await d.failure('revoke', 'web', '--all')).toBe('the app "web" has no key.')
    const [web, webs] = await d.executeJson('list')
    expect([web.keys.length, webs.keys.length]).toEqual([0, 1])
  })

  test('repeats a key in no error message, wherever it was typed', async () => {
    await using d = await commandFixture()
    const { key } = await d.executeJson('create', 'web')
    for (const args of [
      ['create', key],
      ['list', key],
      [key],
      ['revoke', 'web', key],
      ['revoke', `--${key}`],
      ['revoke', `${key}x`],
      ['create', 'x', '--expires', key],
    ])
      expect(await d.failure(...args)).not.toContain(key.slice(12))
  })

  test('hold holds once, says since when and why, and release ends it', async () => {
    await using d = await commandFixture()
    await d.execute('create', 'web')
    expect(await d.execute('release')).toBe('Submits were not held.')
    expect(await d.executeJson('hold', '--why', 'a bill to check')).toEqual({
      held: true,
      isNew: true,
      since: new Date(NOW).toISOString(),
      why: 'a bill to check',
    })
    d.advanceClock(HOUR)
    expect(await d.execute('hold', '--why', 'another')).toBe(
      'All submits are held already, since 2026-05-17 10:30:00 UTC ("a bill to check").',
    )
    expect(await d.execute('release')).toBe('Submits are released.')
    expect(await d.execute('hold')).toContain('jobs stay QUEUED')
  })

  test.each<[string[], string]>([
    [[], 'no verb is given.'],
    [['hold', 'web'], 'too many arguments: "web".'],
    [['release', '--why', 'x'], '--why belongs to hold, not to release.'],
    [['hold', '--why'], '--why lacks its TEXT.'],
    [['crate', 'x'], 'there is no verb "crate"; did you mean create?'],
    [
      ['x'],
      'there is no verb "x"; there are create, list, set, rotate, revoke, hold, release, queue, cancel, backup, restored.',
    ],
    [
      ['toString'],
      'there is no verb "toString"; there are create, list, set, rotate, revoke, hold, release, queue, cancel, backup, restored.',
    ],
    [['create'], '"create" lacks its argument.\n  npm run app -- create NAME [LIMITS] [--expires DATE]'],
    [['revoke'], '"revoke" lacks its argument.\n  npm run app -- revoke KEY | revoke NAME --all'],
    [['create', 'a', 'b'], 'too many arguments: "a" and "b".'],
    [
      ['create', 'a b'],
      '"a b" is not a valid name: expected 1 to 64 letters, digits, dots, dashes or underscores.',
    ],
    [['create', ''], '"" is not a valid name'],
    [['create', 'n'.repeat(65)], 'is not a valid name'],
    [['create', 'rsh_abc'], '"rsh_abc" is not a valid name: it begins like a key.'],
    [['create', 'web'], 'there is an app named "web" already.'],
    [['list', 'wep'], 'there is no app named "wep"; did you mean web?'],
    [['set', 'other', '--weight', '2'], 'there is no app named "other"; there are web.'],
    [['rotate', 'other'], 'there is no app named "other"'],
    [['set', 'web'], 'nothing to set: give one or more of\n  --max-in-flight'],
    [['set', 'web', '--expires', '2999-01-01'], '--expires belongs to create and rotate, not to set.'],
    [['create', 'a', '--grace', '1h'], '--grace belongs to rotate, not to create.'],
    [['rotate', 'web', '--all'], '--all belongs to revoke, not to rotate.'],
    [['set', 'web', '--weigth', '2'], 'there is no --weigth; did you mean --weight?'],
    [['set', 'web', '--colour=1'], 'there is no --colour.'],
    [['set', 'web', '-weight', '2'], 'there is no -weight; did you mean --weight?'],
    [['set', 'web', '-w', '2'], 'there is no -w.'],
    [['list', '--json=yes'], '--json takes no value.'],
    [['set', 'web', '--weight'], '--weight lacks its N.'],
    [['set', 'web', '--weight', '--json'], '--weight lacks its N.'],
    [['set', 'web', '--weight', '2', '--weight=3'], '--weight is given twice.'],
    [
      ['set', 'web', '--weight', '0', '--max-queued', '-5', '--budget'],
      'there is no --budget.\n--weight "0": expected a whole number from 1 to 1000.\n--max-queued "-5": expected a whole number from 1 to 1000000, or none.',
    ],
    [
      ['rotate', 'web', '--grace', '1w'],
      '--grace "1w": expected a duration like 30m, 24h or 7d, up to 366d, or 0.',
    ],
    [['create', 'a', '--expires', '2001-01-01'], '--expires "2001-01-01": expected a date in the future.'],
  ])('refuses %j in a sentence', async (args, sentence) => {
    await using d = await commandFixture()
    await d.execute('create', 'web')
    const before = databaseDump(d.file)
    expect(await d.failure(...args)).toContain(sentence)
    expect(databaseDump(d.file)).toBe(before)
  })

  test.each([
    '',
    ' ',
    '0',
    '-1',
    '+1',
    '1.5',
    '1e9',
    '1,000',
    '0x10',
    'NaN',
    'Infinity',
    '1000001',
    '9'.repeat(400),
  ])('refuses %j as a limit', async text => {
    await using d = await commandFixture()
    const flags = ['--max-in-flight', '--max-queued', '--submits-per-minute', '--weight']
    const failure = await d.failure('create', 'web', ...flags.map(flag => `${flag}=${text}`))
    expect(failure.split('\n')).toHaveLength(flags.length)
    expect(existsSync(d.file)).toBe(false)
  })

  test('fails if npm kept a flag for itself', async () => {
    await using d = await commandFixture()
    const env = { DATABASE_URL: `file:${d.file}`, npm_config_json: 'true', npm_config_max_in_flight: '3' }
    await expect(runCommand(['create', 'web'], env, NOW)).rejects.toThrow(
      'npm kept --max-in-flight for itself: type "npm run app -- ...", with the two dashes.',
    )
    expect(existsSync(d.file)).toBe(false)
  })

  test('a weight cannot be removed', async () => {
    await using d = await commandFixture()
    expect(await d.failure('create', 'web', '--weight', 'none')).toBe(
      '--weight "none": expected a whole number from 1 to 1000.',
    )
  })
})

describe('values', () => {
  test('dollars are parsed to the micro-dollar, and printed as they were', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 1e12 }), micro => {
        const text = formatDollars(micro)
        expect(text).toMatch(/^\$\d+\.\d{2,6}$/)
        expect(parseDollars(text.slice(1), NOW)).toEqual({ value: micro })
      }),
    )
    expect(parseDollars('0.1', NOW)).toEqual({ value: 100_000 })
    expect(parseDollars('1000000', NOW)).toEqual({ value: 1e12 })
    for (const text of [
      '',
      '0',
      '0.000000',
      '-1',
      '1.2345678',
      '1000000.000001',
      '$5',
      '1,5',
      '.5',
      '5.',
      '1e3',
      'NaN',
    ])
      expect(parseDollars(text, NOW), text).toHaveProperty('expected')
  })

  test('a date exists in the calendar, is in UTC or has its zone, and is in the future', () => {
    expect(parseDate('2028-02-29', NOW)).toEqual({ value: Date.UTC(2028, 1, 29) })
    expect(parseDate('2027-01-31T18:00+02:00', NOW)).toEqual({ value: Date.UTC(2027, 0, 31, 16) })
    expect(parseDate('2026-05-17T10:30:00.001Z', NOW)).toEqual({ value: NOW + 1 })
    for (const text of [
      '',
      'soon',
      '5',
      '2027',
      '2027-02-29',
      '2027-13-01',
      '31.1.2027',
      '2027-01-31T18:00',
      '2026-05-17',
      '2026-05-17T10:30Z',
    ])
      expect(parseDate(text, NOW), text).toHaveProperty('expected')
  })

  test('a duration has its unit, or is 0', () => {
    for (const [text, value] of [
      ['0', 0],
      ['90s', 90_000],
      ['30m', HOUR / 2],
      ['24h', DAY],
      ['366d', 366 * DAY],
    ])
      expect(parseDuration(text as string, NOW)).toEqual({ value })
    for (const text of [
      '',
      '1',
      '-1h',
      '1.5h',
      '1 h',
      '24H',
      '1w',
      '367d',
      '9e9d',
      'none',
      `${'9'.repeat(400)}d`,
    ])
      expect(parseDuration(text, NOW), text).toHaveProperty('expected')
  })
})

describe('the database', () => {
  const VERBS = [['list'], ['set', 'web', '--weight', '2'], ['rotate', 'web'], ['revoke', 'rsh_12345678']]

  test.each(VERBS)('is not created by %s', async (...args) => {
    await using d = await commandFixture()
    expect(await d.failure(...args)).toMatch(
      /^DATABASE_URL: there is no database \S+rushes\.db\. .+"create"\.$/,
    )
    expect(await readdir(d.folder)).toEqual([])
    const inMemory = runCommand(args, { DATABASE_URL: 'file::memory:' }, NOW)
    await expect(inMemory).rejects.toThrow(/in memory/)
  })

  test.each<[string, (file: string) => unknown, RegExp]>([
    ['no database', file => writeFile(file, 'x'.repeat(5000)), /is not a SQLite database/],
    ["another program's", file => new Database(file).exec('create table t (a)').close(), /another program/],
    [
      "a newer gateway's",
      async file => {
        await runCommand(['create', 'web'], { DATABASE_URL: `file:${file}` }, NOW)
        new Database(file).exec("insert into __drizzle_migrations (hash) values ('x')").close()
      },
      /written by a newer Rushes/,
    ],
  ])('is refused in a sentence if it is %s', async (_, prepare, sentence) => {
    await using d = await commandFixture()
    await prepare(d.file)
    for (const args of [['create', 'web'], ...VERBS]) expect(await d.failure(...args)).toMatch(sentence)
  })

  test('that stays locked is refused in a sentence, and nothing is written; list works, as it only reads', async () => {
    await using d = await commandFixture()
    const { key } = await d.executeJson('create', 'web')
    const lockHolder = new Database(d.file)
    lockHolder.exec('begin immediate')
    for (const args of [['create', 'x'], ...VERBS.slice(1, 3), ['revoke', key.slice(0, 12)]])
      expect(await d.failure(...args)).toMatch(/is locked by another process \(SQLITE_BUSY\)\. Try again/)
    expect(await d.executeJson('list')).toMatchObject([{ name: 'web', keys: [{ prefix: key.slice(0, 12) }] }])
    lockHolder.close()
  })
})

describe('beside a running gateway', () => {
  const VIEWER =
    '{ viewer { name limits { maxInFlight maxQueued submitsPerMinute monthlyBudget { amount } weight } } }'
  const commandFor =
    ({ folder }: Harness) =>
    // biome-ignore lint/suspicious/noExplicitAny: each verb has its own result
    async (...args: string[]): Promise<any> =>
      JSON.parse(
        await runCommand([...args, '--json'], { DATABASE_URL: `file:${folder}/rushes.db` }, Date.now()),
      )
  const isKnown = async (harness: Harness, key: string) =>
    (await harness.query('{ viewer { name } }', {}, key)).errors === undefined

  test('new limits show at once, and usage is listed', async () => {
    await using harness = await startGateway()
    const execute = commandFor(harness)
    const { key } = await execute('create', 'web', '--max-queued', '10')
    await execute('set', 'web', '--monthly-budget-usd', '250.5', '--weight', '3', '--max-in-flight', '2')
    expect((await harness.query(VIEWER, {}, key)).data.viewer).toEqual({
      name: 'web',
      limits: {
        maxInFlight: 2,
        maxQueued: 10,
        submitsPerMinute: null,
        monthlyBudget: { amount: 250.5 },
        weight: 3,
      },
    })
    await submit(harness, 'a slow pan sim:seconds=60', key)
    const [web] = await execute('list', 'web')
    expect(web.usage).toMatchObject({ spentThisMonthUsd: 0.8 })
    expect(web.usage.inFlight + web.usage.queued).toBe(1)
  })

  test('an earlier key works beside the new one until its grace period ends', async () => {
    let ahead = 0
    await using harness = await startGateway({ overrides: { clocks: clocksFrom(() => Date.now() + ahead) } })
    const execute = commandFor(harness)
    const { key: old } = await execute('create', 'web')
    const { key } = await execute('rotate', 'web', '--grace', '1h')
    expect([await isKnown(harness, old), await isKnown(harness, key)]).toEqual([true, true])
    ahead = HOUR
    await until(async () => !(await isKnown(harness, old)), 5000)
    expect(await isKnown(harness, key)).toBe(true)
  })

  test('a revoked key ends within five seconds, and so does its open WebSocket', async () => {
    await using harness = await startGateway()
    const execute = commandFor(harness)
    const { key } = await execute('create', 'web')
    const feed = harness.subscribe('WebSocket', 'subscription { predictionFeed { __typename } }', {}, key)
    await take(feed, 1)
    const revokedAt = Date.now()
    await execute('revoke', key.slice(0, 12))
    await until(async () => !(await isKnown(harness, key)), 5000)
    await expect(feed.next()).rejects.toMatchObject({ code: 4403 })
    expect(Date.now() - revokedAt).toBeLessThan(5000)
    expect(await isKnown(harness, harness.key)).toBe(true)
  })

  test('an earlier key rotated without a grace period is no longer valid', async () => {
    await using harness = await startGateway()
    const execute = commandFor(harness)
    const { key } = await execute('rotate', 'test', '--grace', '0')
    await until(async () => !(await isKnown(harness, harness.key)), 5000)
    expect(await isKnown(harness, key)).toBe(true)
  })
})
