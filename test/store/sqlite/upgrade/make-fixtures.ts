/**
 * Makes the fixture of one earlier database version with the code of the commit that wrote such databases:
 * `node make-fixtures.ts REPOSITORY FOLDER`, where REPOSITORY is a checkout of that commit after `npm ci`.
 * A child process runs that commit's gateway on its simulator, asks its GraphQL API for everything, and kills itself, so
 * that the database is what a crash leaves. The parent process then writes FOLDER/rushes.db.gz and FOLDER/expected.json.
 * Invariant: the gateway's clock moves only when this script moves it, so no state changes while the API is asked.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { isDeepStrictEqual } from 'node:util'
import { gzipSync } from 'node:zlib'
import { FEED, LIST, UPLOAD_NODE, VIEWER } from './documents.ts'
import { formatExpected } from './expected-json.ts'

/** Modules and answers of another commit. Their types differ from version to version. */
// biome-ignore lint/suspicious/noExplicitAny: no one type holds for every version
type Loose = any

const SECOND = 1000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR
/** Events of this day are pruned before the others are written. */
const FIRST_DAY = Date.UTC(2026, 10, 20, 10)
const LAST_EVENING_OF_NOVEMBER = Date.UTC(2026, 10, 30, 21)
const FIRST_MORNING_OF_DECEMBER = Date.UTC(2026, 11, 1, 9)
const NOVEMBER = Date.UTC(2026, 10, 30, 23, 59, 59)
const PUBLIC_URL = 'https://rushes.example'
const IMAGE = 'https://images.example/cat.png'
/** The name of a version is that of its newest migration. */
const versionOf = (repository: string): string =>
  JSON.parse(
    readFileSync(join(repository, 'src/store/sqlite/migrations/meta/_journal.json'), 'utf8'),
  ).entries.at(-1).tag

const [repository = '', folder = '', work] = process.argv.slice(2).map(path => resolve(path))
if (repository === '' || folder === '') throw new Error('usage: node make-fixtures.ts REPOSITORY FOLDER')
if (work === undefined) await supervise()
else await run(work)

// ── The parent process ──

async function supervise(): Promise<void> {
  const work = mkdtempSync(join(tmpdir(), 'rushes-fixture-'))
  try {
    const child: ChildProcess = spawn(process.execPath, [process.argv[1]!, repository, folder, work], {
      cwd: repository,
      stdio: 'inherit',
    })
    await new Promise<void>((done, fail) =>
      child.once('exit', (code, signal) =>
        signal === 'SIGKILL' ? done() : fail(new Error(`the gateway's process ended: ${code} ${signal}`)),
      ),
    )
    const expected = JSON.parse(readFileSync(join(work, 'expected.json'), 'utf8'))
    mkdirSync(folder, { recursive: true })
    const target = join(work, 'vacuumed.db')
    const Database = createRequire(join(repository, 'package.json'))('better-sqlite3')
    const db = new Database(join(work, 'rushes.db'))
    db.pragma('wal_checkpoint(TRUNCATE)')
    db.exec(`vacuum into '${target.replaceAll("'", "''")}'`)
    db.close()
    const copy = new Database(target, { readonly: true })
    const names: string[] = copy
      .prepare(
        "select name from sqlite_master where type = 'table' and name not like 'sqlite_%' order by name",
      )
      .pluck()
      .all()
    expected.rows = Object.fromEntries(
      names.map(name => [name, copy.prepare(`select count(*) from "${name}"`).pluck().get()]),
    )
    expected.states = Object.fromEntries(
      copy
        .prepare(
          'select status, submission, error, count(*) as n from predictions group by 1, 2, 3 order by 1, 2, 3',
        )
        .all()
        .map((row: Loose) => [[row.status, row.submission, row.error].filter(Boolean).join(' '), row.n]),
    )
    copy.close()
    // A gateway's database is in WAL mode. SQLite deletes the -wal and -shm files when the last connection closes.
    const left = new Database(target)
    left.pragma('journal_mode = WAL')
    left.close()
    writeFileSync(join(folder, 'rushes.db.gz'), gzipSync(readFileSync(target), { level: 9 }))
    writeFileSync(join(folder, 'expected.json'), formatExpected(expected))
    console.log(
      expected.version,
      expected.commit,
      JSON.stringify(expected.states),
      JSON.stringify(expected.rows),
    )
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
}

// ── The child process: one gateway ──

async function run(work: string): Promise<void> {
  const load = (path: string): Promise<Loose> => import(pathToFileURL(join(repository, path)).href)
  const version = versionOf(repository)
  const number = Number.parseInt(version, 10)
  const Database = createRequire(join(repository, 'package.json'))('better-sqlite3')
  const file = join(work, 'rushes.db')
  const { createGateway } = await load('src/gateway.ts')
  const { loadConfig } = await load('src/config.ts')
  const { createKey } = await load('src/key.ts')
  const decisions = await load(number === 0 ? 'src/prediction.ts' : 'src/decisions.ts')

  let clock = FIRST_DAY
  const quiet = () => {}
  const error = (fields: Loose, message: string) => console.error(message, fields)
  const config = loadConfig({
    PORT: '0',
    DATABASE_URL: `file:${file}`,
    POLL_MIN_INTERVAL_MS: '1000',
    POLL_MAX_INTERVAL_MS: '5000',
    MAX_QUERY_COST: '1000000',
    PUBLIC_URL,
    ...(number > 0 && { UPSTREAM_SUBMIT_TIMEOUT_MS: '60000' }),
  })
  const reach = {
    look: (url: string, signal?: AbortSignal) => {
      if (url.includes('none')) return Promise.resolve({ kind: 'no image' })
      if (url.includes('gone')) return Promise.resolve({ kind: 'unreachable', reason: 'HTTP_404' })
      const image = { kind: 'image', type: 'image/png', width: 640, height: 480, bytes: null }
      if (!url.includes('hang')) return Promise.resolve(image)
      return new Promise(done =>
        signal?.addEventListener('abort', () => done({ kind: 'unreachable', reason: 'ABORTED' })),
      )
    },
    close: async () => {},
  }
  const gateway = await createGateway(
    config,
    { debug: quiet, info: quiet, warn: quiet, error },
    { now: () => clock, reach, simulator: { fault: faults() } },
  )
  gateway.simulator.advance(clock - Date.now())
  const { store } = gateway

  const leap = (ms: number) => {
    clock += ms
    gateway.simulator.advance(ms)
  }
  const leapTo = (moment: number) => leap(moment - clock)

  /** Rows of the database file, read over a separate connection. */
  const rowsOf = (statement: string, ...values: unknown[]): Loose[] => {
    const db = new Database(file, { readonly: true })
    try {
      return db.prepare(statement).all(...values)
    } finally {
      db.close()
    }
  }
  const rowOf = (id: string): Loose =>
    rowsOf('select * from predictions where id = ?', Buffer.from(id, 'base64url').toString().split(':')[1])[0]

  /** Waits until `check` returns a truthy value, and calls `advance` after each other value. */
  async function until<Fact>(what: string, check: () => Fact | Promise<Fact>, advance = quiet, ms = 30_000) {
    const deadline = Date.now() + ms
    for (;;) {
      const fact = await check()
      if (fact) return fact
      if (Date.now() > deadline) throw new Error(`${version}: waited in vain for ${what}`)
      await pause(25)
      advance()
    }
  }
  const FINAL = ['COMPLETED', 'FAILED', 'CANCELED']
  const reached = (id: string, statuses: string[], advance = quiet) =>
    until(`${id} to be ${statuses}`, () => statuses.includes(rowOf(id)?.status), advance)
  const leapASecond = () => leap(SECOND)
  const ended = async (...ids: string[]) => {
    for (const id of ids) await reached(id, FINAL, leapASecond)
  }

  // ── Its API ──

  async function askLoosely(bearer: string, query: string, variables: object = {}): Promise<Loose> {
    const response = await fetch(gateway.endpoint, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${bearer}` },
      body: JSON.stringify({ query, variables }),
    })
    return response.json()
  }
  async function ask(bearer: string, query: string, variables: object = {}): Promise<Loose> {
    const { data, errors } = await askLoosely(bearer, query, variables)
    if (errors) throw new Error(`${version}: ${JSON.stringify(errors)} for ${query}`)
    return data
  }
  const fields: string[] = (
    await ask(await gateway.issueKey('demo', 30 * DAY), '{ __type(name: "Mutation") { fields { name } } }')
  ).__type.fields.map(({ name }: { name: string }) => name)
  const can = {
    cancel: fields.includes('cancelPrediction'),
    tokens: fields.includes('createAccessToken'),
    uploads: fields.includes('uploadImage'),
    limits: store.setLimits !== undefined,
    inspects: number > 0,
  }

  /** Submits with an idempotency key. The test submits them again. */
  const submits: Loose[] = []
  const SUBMIT = `mutation ($input: SubmitVideoInput!) { answer: submitVideo(input: $input) {
    __typename ... on SubmitVideoPayload { prediction { id } } ... on Error { code } } }`
  async function submit(caller: Caller, prompt: string, more: object = {}): Promise<string> {
    const input: Loose = { image: { url: IMAGE }, prompt, ...more }
    const { answer } = await ask(caller.bearer, SUBMIT, { input })
    if (!answer.prediction)
      throw new Error(`${version}: ${JSON.stringify(answer)} for ${JSON.stringify(input)}`)
    if (input.idempotencyKey && clock > FIRST_DAY + DAY)
      submits.push({ caller: caller.name, input, prediction: answer.prediction.id })
    return answer.prediction.id
  }
  const retries: Loose[] = []
  async function retry(caller: Caller, id: string, idempotencyKey?: string): Promise<string> {
    const document = `mutation ($input: RetryPredictionInput!) { answer: retryPrediction(input: $input) {
      __typename ... on RetryPredictionPayload { prediction { id } } ... on Error { code } } }`
    const input = { id, ...(idempotencyKey && { idempotencyKey }) }
    const { answer } = await ask(caller.bearer, document, { input })
    if (!answer.prediction) throw new Error(`${version}: ${JSON.stringify(answer)} for a retry`)
    if (idempotencyKey) retries.push({ caller: caller.name, input, prediction: answer.prediction.id })
    return answer.prediction.id
  }
  async function cancel(caller: Caller, id: string): Promise<void> {
    const document = `mutation ($input: CancelPredictionInput!) { answer: cancelPrediction(input: $input) {
      __typename ... on CancelPredictionPayload { prediction { id } } ... on Error { code } } }`
    const { answer } = await ask(caller.bearer, document, { input: { id } })
    if (answer.__typename !== 'CancelPredictionPayload')
      throw new Error(`${version}: ${answer.code} for a cancel`)
  }

  interface Caller {
    name: string
    app: string
    kind: 'key' | 'token'
    bearer: string
    /** The first cursor of its feed. Null: the caller may not read. */
    first: string | null
    /** The name of another caller that sees the same. Its answers are recorded once. */
    sees?: string
  }
  const callers: Caller[] = []
  async function addCaller(
    name: string,
    app: string,
    bearer: string,
    more: Partial<Caller> = {},
  ): Promise<Caller> {
    const { data } = await askLoosely(bearer, '{ feedCursor }')
    const caller: Caller = { name, app, kind: 'key', bearer, first: data?.feedCursor ?? null, ...more }
    callers.push(caller)
    return caller
  }
  async function mint(name: string, by: Caller, input: object): Promise<Caller> {
    const document = `mutation ($input: CreateAccessTokenInput!) { answer: createAccessToken(input: $input) {
      ... on CreateAccessTokenPayload { token } ... on Error { code } } }`
    const { answer } = await ask(by.bearer, document, { input: { expiresInSeconds: 86_400, ...input } })
    const first = by.first
    const permitted = (input as { permissions: string[] }).permissions.includes('READ')
    const caller: Caller = {
      name,
      app: by.app,
      kind: 'token',
      bearer: answer.token,
      first: permitted ? first : null,
    }
    callers.push(caller)
    return caller
  }

  /** Runs that version's `npm run app` while the gateway runs. Returns the key it prints. */
  function command(...args: string[]): string {
    const { stdout, stderr, status } = spawnSync(process.execPath, ['src/cli/app.ts', ...args, '--json'], {
      cwd: repository,
      env: { ...process.env, DATABASE_URL: `file:${file}` },
      encoding: 'utf8',
    })
    if (status !== 0) throw new Error(`${version}: app ${args.join(' ')}: ${stderr}`)
    return /rsh_[\w-]{40}/.exec(stdout)?.[0] ?? ''
  }

  const uploads: Loose[] = []
  async function upload(caller: Caller, bytes: Buffer): Promise<{ id: string; url: string }> {
    const document = `mutation ($file: File!) { answer: uploadImage(input: { file: $file }) {
      ... on UploadImagePayload { upload { id url } } ... on Error { code } } }`
    const form = new FormData()
    form.set('operations', JSON.stringify({ query: document, variables: { file: null } }))
    form.set('map', '{"0":["variables.file"]}')
    form.set('0', new Blob([new Uint8Array(bytes)]), 'cat.png')
    const response = await fetch(gateway.endpoint, {
      method: 'POST',
      headers: { authorization: `Bearer ${caller.bearer}` },
      body: form,
    })
    const { data, errors } = (await response.json()) as Loose
    if (!data?.answer?.upload) throw new Error(`${version}: ${JSON.stringify(data ?? errors)}`)
    return data.answer.upload
  }
  const addressOf = (url: string) => new URL(url).pathname

  // ── 20 November: predictions whose events are pruned later ──

  const demoKey = await gateway.issueKey('demo', 30 * DAY)
  const beforeAll = (await ask(demoKey, '{ feedCursor }')).feedCursor
  const early: Caller = { name: 'early', app: 'demo', kind: 'key', bearer: demoKey, first: null }
  const old = [
    await submit(early, 'an old one sim:seconds=1', { tags: ['old'], idempotencyKey: 'ancient' }),
    await submit(early, 'an old one sim:seconds=1 sim:fail=1403', { tags: ['old'], metadata: { n: 1 } }),
    await submit(early, 'an old one sim:seconds=1 sim:end=canceled', { model: 'WAN_2_2_I2V_PLUS_480P' }),
  ]
  if (can.uploads) {
    const { id } = await upload(early, png(400))
    old.push(await submit(early, 'an old upload sim:seconds=1', { image: { uploadId: id } }))
  }
  await ended(...old)
  leapTo(LAST_EVENING_OF_NOVEMBER)
  const weekAgo = clock - 7 * DAY
  // Older versions take two arguments.
  if (store.pruneEvents.length === 2) await store.pruneEvents(weekAgo, 500)
  else await store.pruneEvents({ occurredBefore: weekAgo, limit: 500 })
  if (can.uploads) while (await store.pruneUploads(clock)) await pause(1)
  await until('events to be pruned', () => rowsOf('select 1 from events').length === 0)

  // ── 30 November: apps, tokens and predictions with every final state ──

  const demo = await addCaller('demo', 'demo', demoKey)
  const limited = can.limits
    ? [
        '--max-in-flight',
        '50',
        '--max-queued',
        '100',
        '--submits-per-minute',
        '1000',
        '--monthly-budget-usd',
        '250.5',
        '--weight',
        '3',
      ]
    : []
  const studio = await addCaller('studio', 'studio', command('create', 'studio', ...limited))
  await addCaller('night-shift', 'night-shift', command('create', 'night-shift'))
  const storeApp = await store.createApp('by-store', clock)
  const storeKey = createKey()
  await store.addKey(storeApp.id, { prefix: storeKey.prefix, hash: storeKey.hash, expiresAt: null }, clock)
  const byStore = await addCaller('by-store', 'by-store', storeKey.key)
  if (can.limits) {
    const rotated = command('rotate', 'studio', '--grace', '300d')
    callers.push({ ...studio, name: 'studio, rotated key', bearer: rotated, sees: 'studio' })
  }
  const second = createKey()
  const demoApp = await store.appNamed('demo')
  await store.addKey(
    demoApp.id,
    { prefix: second.prefix, hash: second.hash, expiresAt: clock + 60 * DAY },
    clock,
  )
  callers.push({ ...demo, name: 'demo, second key', bearer: second.key, sees: 'demo' })
  const revoked = createKey()
  await store.addKey(demoApp.id, { prefix: revoked.prefix, hash: revoked.hash, expiresAt: null }, clock)
  command('revoke', revoked.prefix)
  callers.push({ name: 'revoked key', app: 'demo', kind: 'key', bearer: revoked.key, first: null })

  const oddTags = ['ünï "q" \'s\' ', 'two words', '日本 🎬', '%_\\', 'a,b', '["x"]']
  const jobs = [
    await submit(demo, 'completes sim:seconds=2', {
      idempotencyKey: 'plain',
      tags: oddTags,
      metadata: {
        nested: { list: [1, 'two', null, { deep: [[[]]] }], empty: {} },
        'ключ "k"': 'ü🎬',
        zero: -0.5,
      },
    }),
    await submit(demo, 'completes too sim:seconds=2 sim:nsfw', {
      model: 'WAN_2_2_I2V_PLUS_480P',
      idempotencyKey: 'full "ü" 🎬',
      negativePrompt: 'blur, "noise"\nand lines',
      seed: 2_147_483_647,
      enablePromptExpansion: true,
      duration: 5,
      tags: ['user-a', 'two words'],
      metadata: [9007199254740991, 1e21, 1.5e-9, true, 'x'.repeat(300), null],
    }),
    await submit(demo, 'seed zero sim:seconds=3', { seed: 0, metadata: 'a text', idempotencyKey: 'text' }),
    await submit(demo, 'metadata false sim:seconds=3', { metadata: false, tags: [] }),
    await submit(demo, 'metadata zero sim:seconds=3', { metadata: 0, negativePrompt: '  ' }),
    await submit(demo, 'metadata null sim:seconds=3', { metadata: null, tags: null, idempotencyKey: 'null' }),
    ...(await Promise.all(
      [1200, 1400, 1402, 1403, 5000, 5004].map(code =>
        submit(demo, `fails sim:seconds=2 sim:fail=${code}`, {
          tags: [`code ${code}`, 'fails'],
          idempotencyKey: `code ${code}`,
        }),
      ),
    )),
    await submit(demo, 'times out upstream sim:seconds=2 sim:end=timeout', { tags: ['fails'] }),
    await submit(demo, 'has no video sim:seconds=2 sim:empty', { tags: ['fails'] }),
    await submit(demo, 'is canceled upstream sim:seconds=2 sim:end=canceled', {
      model: 'WAN_2_2_I2V_PLUS_480P',
    }),
    await submit(demo, 'is refused up:400', { idempotencyKey: 'refused' }),
  ]
  if (can.inspects)
    jobs.push(
      await submit(demo, 'has no image', { image: { url: 'https://images.example/none.txt' } }),
      await submit(demo, 'has an image that is gone', { image: { url: 'https://images.example/gone.png' } }),
    )
  await ended(...jobs)
  const failed = jobs[9]!
  jobs.push(await submit(demo, 'is throttled once sim:seconds=2 up:once429'))
  await ended(jobs.at(-1)!)
  jobs.push(await submit(demo, 'meets an account in trouble once sim:seconds=2 up:once402'))
  await ended(jobs.at(-1)!)

  const once = 'once "ü"'
  if (can.tokens) {
    const READ_SUBMIT = { permissions: ['READ', 'SUBMIT'] }
    const tagged = await mint('demo, tagged token', demo, {
      ...READ_SUBMIT,
      tags: ['user-a', oddTags[2]],
      maxSubmits: 9,
    })
    await mint('demo, token of ids', demo, {
      permissions: ['READ'],
      predictionIds: [jobs[0], jobs[6]],
      maxSubmits: 0,
    })
    const blind = await mint('demo, write-only token', demo, {
      permissions: ['SUBMIT'],
      tags: ['user-w'],
      maxSubmits: 3,
    })
    const whole = await mint('demo, reading token', demo, { permissions: ['READ'] })
    whole.sees = 'demo'
    const spent = await mint('demo, spent token', demo, { ...READ_SUBMIT, tags: [once], maxSubmits: 1 })
    await mint('demo, ended token', demo, { permissions: ['READ'], expiresInSeconds: 60 })
    const guest = await mint('studio, tagged token', studio, {
      ...READ_SUBMIT,
      tags: ['guest'],
      maxSubmits: 2,
    })
    jobs.push(
      await submit(tagged, 'by a token sim:seconds=2', { idempotencyKey: 'plain', tags: ['mine'] }),
      await submit(blind, 'by a blind token sim:seconds=2', {
        idempotencyKey: 'plain',
        metadata: { blind: true },
      }),
      await submit(spent, 'by a spent token sim:seconds=2', { idempotencyKey: 'plain' }),
      await submit(guest, 'by a guest sim:seconds=2', { idempotencyKey: 'guest 1' }),
    )
  }
  const studios = [
    await submit(studio, 'of the studio sim:seconds=2', {
      idempotencyKey: 'plain',
      tags: ['guest', oddTags[0]],
    }),
    await submit(studio, 'of the studio sim:seconds=2 sim:fail=1200', { idempotencyKey: 'fails' }),
    await submit(byStore, 'of another app sim:seconds=2', { idempotencyKey: 'plain' }),
  ]
  await ended(...jobs, ...studios)

  if (can.cancel) {
    const chained = await retry(demo, failed, 'retry 1')
    await ended(chained)
    const again = await retry(demo, chained, 'retry 2')
    await ended(again)
    await ended(await retry(demo, again))
    const waiting = await submit(demo, 'is canceled in the queue', {
      image: { url: 'https://images.example/hang.png' },
      idempotencyKey: 'canceled',
    })
    await cancel(demo, waiting)
    const sent = await submit(demo, 'is canceled after sending sim:seconds=500', { tags: ['canceled'] })
    await reached(sent, ['CREATED', 'PROCESSING'])
    await cancel(demo, sent)
    // Upstream refuses the job later. That event changes the cost and not the status.
    const refused = await submit(demo, 'is canceled, then refused up:stall')
    await until('its POST', () => rowOf(refused).submission === 'begun')
    await cancel(demo, refused)
    await store.change(rowOf(refused).id, decisions.answered({ kind: 'rejected' }, clock, clock), clock)
  } else {
    // This version has no retryPrediction. Its store accepts `retryOf`.
    const before = await store.get(demoApp.id, Buffer.from(failed, 'base64url').toString().split(':')[1])
    for (let retryOf = before, n = 0; n < 2; n++) {
      const { appId, model, input, tags, metadata, cost } = { ...retryOf, cost: 800_000 }
      const draft = { appId, model, input, tags, metadata, cost, retryOf: retryOf.id }
      retryOf = (await store.create(draft, null, clock)).prediction
      await ended(globalId('Prediction', retryOf.id))
    }
  }

  // After a POST without an answer the gateway sends nothing until upstream can be read.
  const lost = await submit(demo, 'is never answered up:cut', { idempotencyKey: 'lost', tags: ['lost'] })
  await reached(lost, FINAL, () => leap(10 * SECOND))
  await until('the pause to be a trial', async () => (await store.paused())?.trial)
  const trial = await submit(demo, 'ends the pause sim:seconds=2')
  await ended(trial)
  if (can.inspects) {
    // The outcome becomes known after the prediction has FAILED with SUBMISSION_UNKNOWN.
    const late = await submit(demo, 'is corrected up:cut', { idempotencyKey: 'corrected' })
    await reached(late, FINAL, () => leap(10 * SECOND))
    const { id } = rowOf(late)
    await store.change(id, decisions.accepted('late-1', clock), clock)
    leap(SECOND)
    const video = { url: 'https://videos.example/late-1.mp4', hasNsfwContent: null }
    const seen = { status: 'completed', outputs: [video], inferenceMs: 1234 }
    const look = { now: clock, next: clock, deadlineMs: HOUR, graceMs: 0 }
    await store.change(id, decisions.observed(seen, look), clock)
    await until('the pause to be a trial', async () => {
      const standing = await store.paused()
      return standing === null || standing.trial
    })
    await ended(await submit(demo, 'ends the second pause sim:seconds=2'))
  }
  const long = await submit(demo, 'takes longer than any deadline sim:seconds=900000', {
    idempotencyKey: 'long',
  })
  await reached(long, ['CREATED'])
  if (clock > NOVEMBER) throw new Error('November was too short')

  // ── 1 December ──

  leapTo(FIRST_MORNING_OF_DECEMBER)
  if (can.inspects) await reached(long, ['FAILED'], leapASecond)
  const tight = await store.createApp('tight', clock, { limits: { monthlyBudget: 1_700_000, maxQueued: 9 } })
  const tightKey = createKey()
  await store.addKey(tight.id, { prefix: tightKey.prefix, hash: tightKey.hash, expiresAt: null }, clock)
  const thrifty = await addCaller('tight', 'tight', tightKey.key)
  await ended(
    await submit(demo, 'in December sim:seconds=2', { idempotencyKey: 'december', tags: ['december'] }),
    await submit(studio, 'in December sim:seconds=2', { model: 'WAN_2_2_I2V_PLUS_480P' }),
    await submit(thrifty, 'spends sim:seconds=2', { idempotencyKey: 'spends' }),
    await submit(thrifty, 'spends and gets it back sim:seconds=2 sim:fail=1403'),
  )
  await ended(await submit(thrifty, 'spends again sim:seconds=2'))

  let keptUploads: Loose[] = []
  if (can.uploads) {
    const images = [png(600), bmp()]
    const tagged = callers.find(({ name }) => name === 'demo, tagged token')!
    const [mine, other] = [await upload(demo, images[0]!), await upload(demo, images[1]!)]
    const shared = await upload(tagged, images[0]!)
    const theirs = await upload(studio, images[0]!)
    keptUploads = [
      { caller: 'demo', ...mine, bytes: images[0] },
      { caller: 'demo', ...other, bytes: images[1] },
      { caller: tagged.name, ...shared, bytes: images[0] },
      { caller: 'studio', ...theirs, bytes: images[0] },
    ]
    await ended(
      await submit(demo, 'from an upload sim:seconds=2', {
        image: { uploadId: mine.id },
        idempotencyKey: 'upload',
      }),
      await submit(tagged, 'from an upload of a token sim:seconds=2', {
        image: { uploadId: shared.id },
        idempotencyKey: 'upload',
      }),
    )
  }

  const processing = await submit(demo, 'is being made sim:seconds=7200', { idempotencyKey: 'processing' })
  const given = can.cancel ? [await submit(demo, 'is canceled while it is made sim:seconds=7200')] : []
  const created = await submit(studio, 'is created sim:seconds=900000', { tags: ['guest'] })
  await reached(created, ['CREATED'])
  leap(25 * MINUTE)
  await reached(processing, ['PROCESSING'], leapASecond)
  for (const id of given) {
    await reached(id, ['PROCESSING'], leapASecond)
    await cancel(demo, id)
  }
  const empty = await submit(demo, 'has no video yet sim:seconds=1 sim:empty', { tags: ['empty'] })
  await reached(empty, ['CREATED'])
  for (let n = 0; rowOf(empty).empty_since === null && n < 60; n++) {
    leap(SECOND)
    await until('a poll', () => rowOf(empty).empty_since !== null, quiet, 450).catch(quiet)
  }
  if (rowOf(empty).empty_since === null) throw new Error('it was not seen without a video')
  const twin = await submit(demo, 'is created sim:seconds=900000', { tags: ['created'], metadata: {} })
  await reached(twin, ['CREATED'])

  // ── The clock stands still until the end, so every state below is kept ──

  const begun = (id: string) =>
    until(`${id} to be begun`, () => rowOf(id).submission === 'begun' && rowOf(id).status === 'QUEUED')
  const unknown = (id: string) => until(`${id} to be unknown`, () => rowOf(id).submission === 'unknown')
  const ending = ['throttled', 'on trial', 'trial without a job'][number % 3]!
  if (ending !== 'on trial') {
    await begun(await submit(demo, 'is being sent up:stall', { idempotencyKey: 'begun' }))
    if (can.cancel) {
      const sent = await submit(demo, 'is canceled while it is sent up:stall')
      await begun(sent)
      await cancel(demo, sent)
    }
  }
  if (ending === 'throttled') {
    const hangs = await submit(demo, 'is never answered either up:stall', { idempotencyKey: 'unknown' })
    await begun(hangs)
    const throttled = await submit(demo, 'is throttled up:429', { tags: ['throttled'] })
    await until('submits to pause', async () => (await store.paused())?.reason === 'throttled')
    await until('its row', () => rowOf(throttled).submission === 'none')
    // The reconciler does the same to a row that a dead process has left.
    await store.change(rowOf(hangs).id, decisions.abandoned(clock, clock + 3 * MINUTE), clock)
    await unknown(hangs)
  } else {
    await unknown(await submit(demo, 'is never answered either up:cut', { idempotencyKey: 'unknown' }))
    await until('the pause to be a trial', async () => (await store.paused())?.trial)
  }
  if (ending === 'on trial') {
    const sent = await submit(demo, 'is being sent on trial up:stall', { idempotencyKey: 'begun' })
    await begun(sent)
    await until('the trial to be its', async () => (await store.paused())?.trialOf === rowOf(sent).id)
  }

  const seen = [
    await submit(demo, 'waits up:stall', { idempotencyKey: 'waits', tags: oddTags }),
    await submit(studio, 'waits up:stall', { idempotencyKey: 'waits' }),
    await submit(demo, 'waits as well up:stall', { model: 'WAN_2_2_I2V_PLUS_480P' }),
    await submit(studio, 'waits as well up:stall', { tags: ['guest'] }),
  ]
  for (const url of ['https://images.example/hang.png', 'https://images.example/hang2.png'])
    await submit(demo, 'waits for its image', { image: { url }, tags: ['unseen'] })
  const missed = await submit(studio, 'waits for a second look', {
    image: { url: 'https://images.example/gone.png' },
  })
  if (can.uploads) {
    const { id } = keptUploads[0]
    seen.push(
      await submit(demo, 'waits with an upload', { image: { uploadId: id }, idempotencyKey: 'upload 2' }),
    )
  }
  if (can.inspects) {
    for (const id of seen) await until(`${id}'s image to be seen`, () => rowOf(id).image_seen_at !== null)
    await until('an image to be missed', () => rowOf(missed).image_tries === 1)
  }
  if (can.uploads) {
    // This upload has expired. A waiting job keeps it.
    const bytes = png(500)
    const image = imageOf(demoApp.id, bytes, 'image/png', 640, 480)
    const { upload: expired } = await store.keepUpload(
      { image, space: '', data: bytes },
      1e9,
      clock - 8 * DAY,
    )
    const { model, input } = await store.get({ appId: demoApp.id, only: null }, rowOf(twin).id)
    const draft = {
      ...{ appId: demoApp.id, model, tags: ['expired upload'], metadata: null, retryOf: null, cost: 800_000 },
      ...{ space: '', token: null, uploadId: expired.id },
      input: { ...input, prompt: 'waits with an expired upload', imageUrl: `/uploads/${expired.address}` },
    }
    const { prediction } = await store.create(draft, null, clock)
    await until(
      'its image to be seen',
      () =>
        rowsOf('select 1 from predictions where id = ? and image_seen_at is not null', prediction.id).length >
        0,
    )
    keptUploads.push({
      caller: 'demo',
      id: globalId('Upload', expired.id),
      url: `${PUBLIC_URL}/uploads/${expired.address}`,
      bytes,
    })
  }

  // ── The answers of the API ──

  async function replay(bearer: string, after: string | null): Promise<Loose[]> {
    const abort = new AbortController()
    const response = await fetch(gateway.endpoint, {
      method: 'POST',
      signal: abort.signal,
      headers: {
        'content-type': 'application/json',
        accept: 'text/event-stream',
        authorization: `Bearer ${bearer}`,
      },
      body: JSON.stringify({ query: FEED, variables: { after } }),
    })
    const items: Loose[] = []
    let text = ''
    for await (const chunk of response.body!) {
      text += Buffer.from(chunk).toString('latin1')
      const messages = text.split('\n\n')
      text = messages.pop()!
      for (const message of messages) {
        const data = /^data:(.+)$/m.exec(message)?.[1]
        if (data === undefined) continue
        const result = JSON.parse(Buffer.from(data, 'latin1').toString())
        if (result.errors) throw new Error(`${version}: ${JSON.stringify(result.errors)}`)
        items.push(result.data.predictionFeed)
      }
      if (items.some(({ __typename }) => __typename !== 'PredictionEvent')) break
    }
    abort.abort()
    return items
  }
  const eventsOf = (items: Loose[]) => items.filter(({ __typename }) => __typename === 'PredictionEvent')

  async function list(bearer: string): Promise<Loose[]> {
    const edges: Loose[] = []
    for (let after: string | null = null; ; ) {
      const { predictions } = await ask(bearer, LIST, { first: 20, after })
      edges.push(...predictions.edges)
      after = predictions.pageInfo.endCursor
      if (!predictions.pageInfo.hasNextPage) return edges
    }
  }

  async function recordAnswers(caller: Caller): Promise<object> {
    const viewer = await askLoosely(caller.bearer, VIEWER)
    const { name, app, kind, bearer, sees, first } = caller
    const common = { name, app, kind, bearer, ...(sees && { sees }), viewer }
    if (viewer.errors) return common
    clock = NOVEMBER
    const november = (await ask(bearer, VIEWER)).viewer.usage
    clock = end
    if (sees !== undefined) return { ...common, november }
    const IDS = `query ($filter: PredictionFilter, $first: Int, $last: Int) {
      predictions(filter: $filter, first: $first, last: $last) { edges { node { id } } } }`
    const lists = []
    for (const variables of [
      ...['QUEUED', 'CREATED', 'PROCESSING', 'COMPLETED', 'FAILED', 'CANCELED'].map(status => ({
        filter: { statuses: [status] },
      })),
      ...[oddTags[0], oddTags[2], oddTags[3], 'two words', 'guest', 'nothing'].map(tag => ({
        filter: { tags: [tag] },
      })),
      { filter: { tags: ['two words', 'fails', once], statuses: ['FAILED', 'COMPLETED'] } },
      { filter: { models: ['WAN_2_2_I2V_PLUS_480P'] } },
      { filter: { createdAfter: new Date(FIRST_MORNING_OF_DECEMBER).toISOString() } },
      { filter: { createdBefore: new Date(LAST_EVENING_OF_NOVEMBER).toISOString() } },
      { last: 3 },
    ]) {
      const { predictions } = await ask(bearer, IDS, {
        first: 'last' in variables ? null : 100,
        ...variables,
      })
      lists.push({ variables, ids: predictions.edges.map(({ node }: Loose) => node.id) })
    }
    const feed = await replay(bearer, first)
    const events = eventsOf(feed)
    const middles = [0, 0.25, 0.5, 0.75, 1]
      .map(part => events[Math.round(part * (events.length - 1))]?.cursor)
      .filter((cursor, i, all) => cursor !== undefined && all.indexOf(cursor) === i)
    const continued = []
    for (const after of [...middles, feed.at(-1).cursor])
      continued.push({ after, events: eventsOf(await replay(bearer, after)).map(({ cursor }) => cursor) })
    return { ...common, november, lists, predictions: await list(bearer), feed: { first, events, continued } }
  }

  const end = clock
  const recorded = []
  for (const caller of callers) recorded.push(await recordAnswers(caller))
  for (const caller of recorded as Loose[])
    if (caller.predictions !== undefined && !isDeepStrictEqual(await list(caller.bearer), caller.predictions))
      throw new Error(`${version}: something moved while ${caller.name} was asked`)

  const CONFLICT = '__typename ... on IdempotencyConflictError { prediction { id } } ... on Error { code }'
  for (const entry of submits) {
    const { bearer } = callers.find(({ name }) => name === entry.caller)!
    const again = await ask(bearer, SUBMIT, { input: entry.input })
    if (again.answer.prediction?.id !== entry.prediction) throw new Error(`${version}: it was not repeated`)
    const changed = { ...entry.input, prompt: `${entry.input.prompt}!` }
    const document = `mutation ($input: SubmitVideoInput!) { answer: submitVideo(input: $input) { ${CONFLICT} } }`
    entry.changed = (await ask(bearer, document, { input: changed })).answer
  }
  for (const entry of retries) {
    const { bearer } = callers.find(({ name }) => name === entry.caller)!
    const document = `mutation ($input: RetryPredictionInput!) { answer: retryPrediction(input: $input) { ${CONFLICT} } }`
    const input = { ...entry.input, id: jobs[6] }
    entry.changed = { input, answer: (await ask(bearer, document, { input })).answer }
  }
  /** Submits that a spent budget or a spent token refuses. */
  const refused: Loose[] = []
  for (const name of ['tight', 'demo, spent token'].filter(name =>
    callers.some(each => each.name === name),
  )) {
    if (!can.limits) continue
    const { bearer } = callers.find(each => each.name === name)!
    const input = { image: { url: IMAGE }, prompt: 'one too many' }
    const document = `mutation ($input: SubmitVideoInput!) { answer: submitVideo(input: $input) {
      __typename ... on Error { code } ... on BudgetExceededError { budget { amount } spent { amount } } } }`
    const { answer } = await ask(bearer, document, { input })
    if (answer.code === undefined) throw new Error(`${version}: it was not refused`)
    refused.push({ caller: name, input, answer })
  }
  for (const { caller, id, url, bytes } of keptUploads) {
    const { bearer } = callers.find(({ name }) => name === caller)!
    const response = await fetch(`${gateway.url}${addressOf(url)}`)
    const body = Buffer.from(await response.arrayBuffer())
    if (!body.equals(bytes)) throw new Error(`${version}: an upload is not what was uploaded`)
    uploads.push({
      caller,
      id,
      node: (await ask(bearer, UPLOAD_NODE, { id })).node,
      preview: {
        path: addressOf(url),
        status: response.status,
        contentType: response.headers.get('content-type'),
        sha256: createHash('sha256').update(body).digest('hex'),
        bytes: body.length,
      },
    })
  }

  const commit = spawnSync('git', ['-C', repository, 'rev-parse', 'HEAD'], { encoding: 'utf8' }).stdout.trim()
  const expected = {
    version,
    commit,
    ending,
    publicUrl: PUBLIC_URL,
    /** The gateway's clock when the API was asked, ms since 1970. */
    now: end,
    november: NOVEMBER,
    models: (
      await ask(
        demo.bearer,
        '{ models { model name resolution durations cost { amount currency } expectedSeconds } }',
      )
    ).models,
    submits,
    retries,
    refused,
    /** The key was used more than 24 hours ago, so the same submit makes a new prediction. */
    outdated: {
      caller: 'demo',
      input: {
        image: { url: IMAGE },
        prompt: 'an old one sim:seconds=1',
        tags: ['old'],
        idempotencyKey: 'ancient',
      },
      prediction: old[0],
    },
    /** A cursor that is older than the pruned events. */
    pruned: { caller: 'demo', after: beforeAll, answer: await pruned() },
    uploads,
    callers: recorded,
  }
  async function pruned(): Promise<Loose> {
    const [gap] = await replay(demo.bearer, beforeAll)
    return { __typename: gap.__typename, reason: gap.reason }
  }
  writeFileSync(join(work, 'expected.json'), JSON.stringify(expected))

  if (can.uploads) {
    // This image has no upload any more. Its bytes are not yet deleted.
    const unneeded = png(300)
    const image = imageOf(demoApp.id, unneeded, 'image/png', 640, 480)
    await store.keepUpload({ image, space: '', data: unneeded }, 1e9, clock - 8 * DAY)
    await store.pruneUploads(clock)
    // The process ends while the bytes of this image are being written.
    const partial = png(350)
    void store.keepUpload(
      { image: imageOf(demoApp.id, partial, 'image/png', 640, 480), space: '', data: partial },
      1e9,
      clock,
    )
  }
  process.kill(process.pid, 'SIGKILL')
}

/** Faults of the simulator. A word in the prompt selects one. */
function faults() {
  const met = new Set<string>()
  const refusal = (status: number, headers = {}) => ({
    status,
    body: JSON.stringify({ code: status, message: 'no', data: null }),
    headers,
  })
  return ({ method, path, body }: Loose) => {
    const prompt: string = body?.prompt ?? ''
    if (method !== 'POST' || path === '/predictions') return null
    if (prompt.includes('up:cut')) return { cut: 'before' }
    if (prompt.includes('up:stall')) return { stall: 'before' }
    if (prompt.includes('up:400')) return refusal(400)
    if (prompt.includes('up:429')) return refusal(429, { 'retry-after': '3600' })
    if (!prompt.includes('up:once') || met.has(prompt)) return null
    met.add(prompt)
    return prompt.includes('429') ? refusal(429, { 'retry-after': '1' }) : refusal(402)
  }
}

/** A PNG of that many bytes with random content. */
function png(bytes: number): Buffer {
  const head = Buffer.from('\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x02\x80\0\0\x01\xe0\x08\x06\0\0\0', 'latin1')
  return Buffer.concat([head, randomBytes(bytes - head.length)])
}

/** A bitmap of two by three pixels. */
function bmp(): Buffer {
  const bytes = Buffer.alloc(78, 7)
  bytes.write('BM', 'latin1')
  bytes.writeUInt32LE(78, 2)
  bytes.writeUInt32LE(54, 10)
  bytes.writeUInt32LE(40, 14)
  bytes.writeInt32LE(2, 18)
  bytes.writeInt32LE(3, 22)
  return bytes
}

function imageOf(appId: string, data: Buffer, contentType: string, width: number, height: number) {
  const hash = createHash('sha256').update(data).digest('hex')
  return { appId, hash, contentType, width, height, bytes: data.length }
}

/** An id as the API gives it. */
function globalId(type: 'Prediction' | 'Upload', id: string): string {
  return Buffer.from(`${type}:${id}`).toString('base64url')
}
