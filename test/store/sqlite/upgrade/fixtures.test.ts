/**
 * Opens a database of every earlier version with today's gateway, and compares its answers with those of the version
 * that wrote the database (expected.json). README.md explains how the fixtures are made.
 * Invariant: the gateway's clock stands still, upstream answers 503 and image checks do not end, so no prediction
 * changes during a test.
 */
import { createHash } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import Database from 'better-sqlite3'
import { describe, expect, test } from 'vitest'
import { openSqliteStore } from '../../../../src/store/sqlite/sqlite-store.ts'
import { clocksFrom } from '../../../support/clocks.ts'
import { type Harness, startGateway } from '../../../support/gateway.ts'
import { uploadImage } from '../../../support/upload.ts'
import { FEED, LIST, UPLOAD_NODE, VIEWER } from './documents.ts'

// ── Internals of today's gateway: only the imports above and this block use them ──

/** Today's names of tables, columns and stored values of old databases. A name that is missing here is still the same. */
const RENAMED: {
  tables: Record<string, string>
  /** The keys are `table.column`, in old names. */
  columns: Record<string, string>
  /** The keys are `table.column`, in old names. Each maps old values to today's. */
  values: Record<string, Record<string, string>>
} = {
  tables: {
    keys: 'api_keys',
    tagged: 'prediction_tags',
    spending: 'app_monthly_spend',
    posts: 'submit_attempts',
    pause: 'submit_circuit',
    pace: 'concurrency_limit',
    parts: 'image_chunks',
  },
  columns: {
    'apps.turn': 'virtual_time',
    'apps.queued_since': 'backlog_started_at',
    'apps.is_new': 'is_newly_active',
    'predictions.space': 'restriction_key',
    'predictions.token': 'token_id',
    'predictions.following': 'tracking',
    'predictions.attempts': 'submit_attempts',
    'predictions.image_seen_at': 'image_verified_at',
    'predictions.image_tries': 'image_check_failures',
    'predictions.handed_url': 'upstream_image_url',
    'predictions.begun_at': 'submit_started_at',
    'predictions.running_at': 'last_seen_running_at',
    'predictions.empty_since': 'completed_without_output_since',
    'posts.begun_at': 'submit_started_at',
    'events.standing': 'state',
    'pause.trial': 'half_open',
    'pause.trial_of': 'probe_prediction_id',
    'pace.only': 'singleton',
    'uploads.space': 'restriction_key',
    'uploads.address': 'preview_token',
    'images.is_whole': 'is_complete',
    'images.begun_at': 'write_started_at',
    'images.handed_url': 'upstream_url',
    'images.handed_until': 'upstream_url_expires_at',
    'parts.part': 'chunk_index',
  },
  values: { 'predictions.following': { closely: 'active', late: 'expired' } },
}

/** Columns of today that a table of an old database does not have, with their value in an old row. */
const ADDED_COLUMNS: { table: string; column: string; valueIn: (row: Row, before: Tables) => unknown }[] = [
  {
    table: 'images',
    column: 'delete_requested_at',
    // Before 0007_names, `begun_at` 0 marked an incomplete image for deletion.
    valueIn: row => (row.is_whole === 0 && row.begun_at === 0 ? 0 : null),
  },
  {
    table: 'predictions',
    column: 'version',
    // A prediction whose events are all pruned has the version 1.
    valueIn: (row, before) => Math.max(1, eventsUpTo(before, row.id)),
  },
]

/** The number of a prediction's events up to that one. */
const eventsUpTo = ({ events }: Tables, predictionId: unknown, seq = Infinity): number =>
  events!.filter(event => event.prediction_id === predictionId && (event.seq as number) <= seq).length

/** Runs the migrations, and nothing else. */
const migrate = (file: string): Promise<void> => openSqliteStore(file, () => {}).close()

/** Starts a gateway on that file, with its clock at `at`. Image checks wait until it is closed. */
async function open(file: string, { publicUrl, now }: Expected, at = now) {
  const pendingChecks = new Set<() => void>()
  const imageFetch = {
    checkImage: () =>
      new Promise<{ kind: 'unreachable'; reason: string }>(done =>
        pendingChecks.add(() => done({ kind: 'unreachable', reason: 'CLOSED' })),
      ),
    close: async () => {},
  }
  const harness = await startGateway({
    env: {
      DATABASE_URL: `file:${file}`,
      PUBLIC_URL: publicUrl,
      MAX_QUERY_COST: '1000000',
      // A version without a deadline may have left a job of any age in flight.
      UPSTREAM_DEADLINE_MS: `${7 * 24 * 60 * 60 * 1000}`,
    },
    overrides: {
      clocks: clocksFrom(() => at),
      imageFetch,
      simulator: { fault: () => ({ status: 503, body: '' }) },
    },
  })
  return {
    harness,
    async [Symbol.asyncDispose]() {
      for (const end of pendingChecks) end()
      await harness[Symbol.asyncDispose]()
    },
  }
}

const VERSIONS = [
  '0000_start',
  '0001_follow',
  '0002_apps',
  '0003_sought',
  '0004_uploads',
  '0005_status',
  '0006_tagged',
]

// ── What may differ, and why ──

/** Answers of today's gateway that differ from those of a version. Everything else must be the same. */
const DIFFERENCES = {
  cursorsOfEvents: {
    versions: ['0000_start', '0001_follow'],
    reason:
      'Since 0002_apps a cursor belongs to one app. An older cursor is answered with FeedGap CURSOR_UNKNOWN, and the same events have other cursors.',
  },
  queuePositions: {
    versions: ['0000_start', '0001_follow'],
    reason:
      'Since 0002_apps apps take turns. Before, the oldest prediction of all apps was next. The same predictions are queued, and together they have the same positions.',
  },
  usageOfAnEarlierMonth: {
    versions: ['0000_start', '0001_follow'],
    reason:
      'Before 0002_apps usage counted everything since the first of the month. For a month that is over, that includes later months. The test adds up the costs instead.',
  },
  messageOfInvalidInput: {
    versions: VERSIONS,
    reason:
      'A message is the present text for a stored code. The text for INVALID_INPUT was reworded with 0007_names.',
  },
} as const satisfies Record<string, { versions: string[]; reason: string }>

const differs = (version: string, difference: keyof typeof DIFFERENCES): boolean =>
  (DIFFERENCES[difference].versions as readonly string[]).includes(version)

/** Values of old rows that a migration changes, in old names. Every other value of an old row must be the same. */
const CHANGED_BY_MIGRATIONS = [
  {
    versions: ['0000_start'],
    column: 'predictions.due_at',
    isChanged: (row: Row) => row.submission === 'unknown',
    change: (): unknown => 0,
    reason:
      'Since 0001_follow the gateway looks for jobs of an unknown outcome. The migration makes them due.',
  },
  {
    versions: VERSIONS,
    column: 'events.standing',
    isChanged: () => true,
    change: ({ prediction_id, seq, standing }: Row, before: Tables): unknown =>
      JSON.stringify({
        ...JSON.parse(standing as string),
        version: eventsUpTo(before, prediction_id, seq as number),
      }),
    reason: 'Since 0008_version the state of an event has the version of its prediction.',
  },
]

/** Rows that today's gateway adds to a table of an old database, as soon as it opens it. */
const ADDED_AT_THE_START = [
  {
    table: 'meta',
    isAdded: (row: Row) => row.name === 'webhook_key',
    versions: ['0000_start'],
    reason: 'Webhooks came with 0001_follow.',
  },
  {
    table: 'meta',
    isAdded: (row: Row) => row.name === 'token_key',
    versions: ['0000_start', '0001_follow'],
    reason: 'Access tokens came with 0002_apps.',
  },
]

// ── The fixtures ──

type Row = Record<string, unknown>
/** The rows of each table. */
type Tables = Record<string, Row[]>
// biome-ignore lint/suspicious/noExplicitAny: an answer as an API gave it
type Answer = any

interface Caller {
  name: string
  app: string
  bearer: string
  /** The name of another caller that sees the same predictions and events. */
  sees?: string
  viewer: Answer
  /** Usage of November. This field and those below are missing if the caller may not read. */
  november?: Answer
  lists?: { variables: object; ids: string[] }[]
  predictions?: Answer[]
  feed?: { first: string; events: Answer[]; continued: { after: string; events: string[] }[] }
}

interface Expected {
  version: string
  publicUrl: string
  now: number
  november: number
  models: Answer[]
  submits: { caller: string; input: { prompt: string }; prediction: string; changed: Answer }[]
  retries: { caller: string; input: object; prediction: string; changed: { input: object; answer: Answer } }[]
  refused: { caller: string; input: object; answer: Answer }[]
  outdated: { caller: string; input: object; prediction: string }
  pruned: { caller: string; after: string; answer: Answer }
  uploads: { caller: string; id: string; node: Answer; preview: Answer }[]
  callers: Caller[]
  rows: Record<string, number>
}

const fixtureOf = (version: string, name: string) => join(import.meta.dirname, version, name)
const expectedOf = (version: string): Expected =>
  JSON.parse(readFileSync(fixtureOf(version, 'expected.json'), 'utf8'))

/** A copy of the database in a new folder. */
function copyOf(version: string) {
  const folder = mkdtempSync(join(tmpdir(), 'rushes-fixture-'))
  const file = join(folder, 'rushes.db')
  writeFileSync(file, gunzipSync(readFileSync(fixtureOf(version, 'rushes.db.gz'))))
  return { file, [Symbol.dispose]: () => rmSync(folder, { recursive: true, force: true }) }
}

const bearerOf = ({ callers }: Expected, name: string): string =>
  callers.find(caller => caller.name === name)!.bearer

/** Callers that may read. */
const readers = ({ callers }: Expected): Caller[] =>
  callers.filter(({ viewer }) => viewer.errors === undefined)

/** The recorded answers of a caller. Those of a caller with `sees` are recorded with the other caller. */
const seenBy = (expected: Expected, caller: Caller): Required<Caller> =>
  (caller.sees === undefined
    ? caller
    : {
        ...expected.callers.find(({ name }) => name === caller.sees)!,
        bearer: caller.bearer,
      }) as Required<Caller>

// ── Today's answers ──

async function ask(
  harness: Harness,
  bearer: string,
  document: string,
  variables: object = {},
): Promise<Answer> {
  const { data, errors } = await harness.query(document, variables, bearer)
  if (errors !== undefined) throw new Error(JSON.stringify(errors))
  return data
}

async function list(harness: Harness, bearer: string): Promise<Answer[]> {
  const edges: Answer[] = []
  for (let after: string | null = null; ; ) {
    const { predictions } = await ask(harness, bearer, LIST, { first: 20, after })
    edges.push(...predictions.edges)
    if (!predictions.pageInfo.hasNextPage) return edges
    after = predictions.pageInfo.endCursor
  }
}

/** The events after a cursor. The last item is the first that is not an event: FeedCaughtUp or FeedGap. */
async function replay(harness: Harness, bearer: string, after: string): Promise<Answer[]> {
  const items: Answer[] = []
  const stream = harness.subscribe('SSE', FEED, { after }, bearer)
  for await (const { data, errors } of stream) {
    if (errors !== undefined) throw new Error(JSON.stringify(errors))
    items.push(data.predictionFeed)
    if (data.predictionFeed.__typename !== 'PredictionEvent') break
  }
  return items
}

/** An event or a prediction, without the fields that may differ. */
function comparable(version: string, value: Answer): Answer {
  if (Array.isArray(value)) return value.map(each => comparable(version, each))
  if (typeof value !== 'object' || value === null) return value
  const { queuePosition, ...rest } = value
  const fields = Object.entries(rest).filter(
    ([name]) =>
      !(CURSORS.includes(name) && differs(version, 'cursorsOfEvents')) &&
      !(name === 'message' && value.code === 'INVALID_INPUT' && differs(version, 'messageOfInvalidInput')),
  )
  const position =
    differs(version, 'queuePositions') && queuePosition !== null ? 'some position' : queuePosition
  return {
    ...(queuePosition !== undefined && { queuePosition: position }),
    ...Object.fromEntries(fields.map(([name, each]) => [name, comparable(version, each)])),
  }
}
const CURSORS = ['cursor', 'startCursor', 'endCursor']

/** The queue positions among the predictions of a list. */
const positionsIn = (edges: Answer[]): number[] =>
  edges.map(({ node }) => node.queuePosition).filter(position => position !== null)

/** The caller is an app's first key, not another key or a token. */
const isWholeApp = ({ name, app }: Caller): boolean => name === app

describe.each(VERSIONS)('a database of %s', version => {
  const expected = expectedOf(version)

  test('keeps every value of every row', async () => {
    using copy = copyOf(version)
    const before = readAll(copy.file)
    for (const [table, count] of Object.entries(expected.rows))
      if (table !== MIGRATIONS) expect([table, before[table]?.length]).toEqual([table, count])
    await migrate(copy.file)
    const db = new Database(copy.file, { readonly: true })
    try {
      for (const [table, rows] of Object.entries(before)) {
        const columns = Object.keys(rows[0] ?? {})
        if (columns.length === 0) continue
        const names = [
          ...columns.map(column => `"${RENAMED.columns[`${table}.${column}`] ?? column}" as "${column}"`),
          ...addedColumns(table).map(({ column }) => `"${column}"`),
        ]
        const all = db.prepare(`select ${names} from "${RENAMED.tables[table] ?? table}"`).all() as Row[]
        const after = all.filter(row => !isAdded(version, table, row))
        expect(sorted(after), `rows of ${table}`).toEqual(
          sorted(rows.map(row => migrated(version, table, row, before))),
        )
      }
      expect(db.pragma('integrity_check', { simple: true })).toBe('ok')
      expect(db.pragma('foreign_key_check')).toEqual([])
    } finally {
      db.close()
    }
  })

  test('accepts its keys and tokens, with the same limits and usage', async () => {
    using copy = copyOf(version)
    await using gateway = await open(copy.file, expected)
    for (const { name, bearer, viewer } of expected.callers) {
      const { data, errors } = await gateway.harness.query(VIEWER, {}, bearer)
      const codes = (given: Answer[] | undefined) => given?.map(({ extensions }) => extensions.code)
      expect([name, codes(errors as Answer[])]).toEqual([name, codes(viewer.errors)])
      if (viewer.errors === undefined) expect([name, data]).toEqual([name, viewer.data])
    }
    const { models } = await ask(gateway.harness, bearerOf(expected, 'demo'), MODELS)
    expect(models).toEqual(expected.models)
  })

  test('has the same spending of the month before', async () => {
    using copy = copyOf(version)
    await using gateway = await open(copy.file, expected, expected.november)
    for (const caller of readers(expected)) {
      const { name, bearer, november } = caller
      const { usage } = (await ask(gateway.harness, bearer, VIEWER)).viewer
      if (!differs(version, 'usageOfAnEarlierMonth')) expect([name, usage]).toEqual([name, november])
      const { predictions } = seenBy(expected, caller)
      const spent = predictions
        .filter(({ node }) => node.createdAt < DECEMBER)
        .reduce((sum, { node }) => sum + Math.round(node.cost.amount * 1e6), 0)
      expect([name, usage.spentThisMonth]).toEqual([name, { amount: spent / 1e6, currency: 'USD' }])
    }
  })

  test('lists every prediction with every field, by every filter', async () => {
    using copy = copyOf(version)
    await using gateway = await open(copy.file, expected)
    const positions: [then: number[], now: number[]] = [[], []]
    for (const caller of readers(expected)) {
      const { name, bearer } = caller
      const { predictions, lists } = seenBy(expected, caller)
      const edges = await list(gateway.harness, bearer)
      // A cursor of a list names a prediction and not an event, so it stays the same in every version.
      const keys = (all: Answer[]) => all.map(({ cursor, node }) => [cursor, node.id])
      expect(keys(edges), name).toEqual(keys(predictions))
      for (const [i, edge] of edges.entries())
        expect(comparable(version, edge), name).toEqual(comparable(version, predictions[i]))
      if (isWholeApp(caller)) {
        positions[0].push(...positionsIn(predictions))
        positions[1].push(...positionsIn(edges))
      }
      for (const { variables, ids } of lists) {
        const all = 'last' in variables ? variables : { first: 100, ...variables }
        const found = await ask(gateway.harness, bearer, IDS, all)
        const now = found.predictions.edges.map(({ node }: Answer) => node.id)
        expect([name, variables, now]).toEqual([name, variables, ids])
      }
    }
    const [then, now] = positions.map(each => each.sort((a, b) => a - b))
    expect(now).toEqual(then)
    expect(now).toEqual(then!.map((_, i) => i + 1))
  })

  test('replays every event after the first cursor, and continues after every other cursor', async () => {
    using copy = copyOf(version)
    await using gateway = await open(copy.file, expected)
    const { harness } = gateway
    const areUnknown = differs(version, 'cursorsOfEvents')
    for (const caller of readers(expected)) {
      const { name, bearer } = caller
      const { feed } = seenBy(expected, caller)
      if (areUnknown) {
        for (const after of [feed.first, ...feed.continued.map(({ after }) => after)])
          expect([name, await gapOf(harness, bearer, after)]).toEqual([name, UNKNOWN])
        // The history of its prediction has the first event with its cursor of today.
        const [first, ...rest] = feed.events
        if (first === undefined) continue
        const [edge] = (await list(harness, bearer))
          .filter(({ node }) => node.id === first.prediction.id)
          .flatMap(({ node }) => node.history.edges)
        expect(edge.node).toMatchObject({ type: first.type, occurredAt: first.occurredAt })
        const items = await replay(harness, bearer, edge.cursor)
        expect(items.at(-1).__typename).toBe('FeedCaughtUp')
        expect(comparable(version, items.slice(0, -1)), name).toEqual(comparable(version, rest))
        continue
      }
      const items = await replay(harness, bearer, feed.first)
      expect(items.at(-1).__typename).toBe('FeedCaughtUp')
      expect(comparable(version, items.slice(0, -1)), name).toEqual(comparable(version, feed.events))
      for (const { after, events } of feed.continued) {
        const followed = await replay(harness, bearer, after)
        expect(followed.at(-1).__typename).toBe('FeedCaughtUp')
        expect([name, after, followed.slice(0, -1).map(({ cursor }) => cursor)]).toEqual([
          name,
          after,
          events,
        ])
      }
    }
    const { caller, after, answer } = expected.pruned
    const gap = await gapOf(harness, bearerOf(expected, caller), after)
    expect(answer).toEqual({ __typename: 'FeedGap', reason: 'CURSOR_TOO_OLD' })
    expect(gap).toEqual(areUnknown ? UNKNOWN : answer)
  })

  test('answers a repeated submit with the same prediction, and a changed one with a conflict', async () => {
    using copy = copyOf(version)
    await using gateway = await open(copy.file, expected)
    const { harness } = gateway
    const count = await countOf(harness, expected)
    const answerTo = async (document: string, caller: string, input: object) =>
      (await ask(harness, bearerOf(expected, caller), document, { input })).answer
    for (const { caller, input, prediction, changed } of expected.submits) {
      const repeated = await answerTo(SUBMIT, caller, input)
      expect([input, repeated]).toEqual([
        input,
        { __typename: 'SubmitVideoPayload', prediction: { id: prediction } },
      ])
      expect(changed).toMatchObject({
        __typename: 'IdempotencyConflictError',
        prediction: { id: prediction },
      })
      expect(await answerTo(SUBMIT, caller, { ...input, prompt: `${input.prompt}!` })).toEqual(changed)
    }
    for (const { caller, input, prediction, changed } of expected.retries) {
      const repeated = await answerTo(RETRY, caller, input)
      expect([input, repeated]).toEqual([
        input,
        { __typename: 'RetryPredictionPayload', prediction: { id: prediction } },
      ])
      expect(await answerTo(RETRY, caller, changed.input)).toEqual(changed.answer)
    }
    for (const { caller, input, answer } of expected.refused)
      expect([caller, await answerTo(SUBMIT, caller, input)]).toEqual([caller, answer])
    expect(await countOf(harness, expected)).toBe(count)

    // The key was used more than 24 hours before, so this is a new request.
    const { caller, input, prediction } = expected.outdated
    const { __typename, prediction: another } = await answerTo(SUBMIT, caller, input)
    expect(__typename).toBe('SubmitVideoPayload')
    expect(another.id).not.toBe(prediction)
    expect(await countOf(harness, expected)).toBe(count + 1)
  })

  if (expected.uploads.length > 0)
    test('has every byte of every upload, and the same image is the same upload', async () => {
      using copy = copyOf(version)
      await using gateway = await open(copy.file, expected)
      const { harness } = gateway
      for (const { caller, id, node, preview } of expected.uploads) {
        const bearer = bearerOf(expected, caller)
        expect([caller, (await ask(harness, bearer, UPLOAD_NODE, { id })).node]).toEqual([caller, node])
        const response = await harness.fetch(preview.path)
        const bytes = Buffer.from(await response.arrayBuffer())
        expect({
          path: preview.path,
          status: response.status,
          contentType: response.headers.get('content-type'),
          sha256: createHash('sha256').update(bytes).digest('hex'),
          bytes: bytes.length,
        }).toEqual(preview)
        if (node === null) continue
        const { id: again, url } = await uploadImage(harness, bytes, bearer)
        expect([again, url]).toEqual([id, node.url])
      }
    })
})

test('every fixture is tested', () => {
  const folders = readdirSync(import.meta.dirname, { withFileTypes: true }).filter(entry =>
    entry.isDirectory(),
  )
  expect(folders.map(({ name }) => name).sort()).toEqual(VERSIONS)
  expect(VERSIONS.map(version => expectedOf(version).version)).toEqual(VERSIONS)
})

const MODELS = '{ models { model name resolution durations cost { amount currency } expectedSeconds } }'
const IDS = `query ($filter: PredictionFilter, $first: Int, $last: Int) {
  predictions(filter: $filter, first: $first, last: $last) { edges { node { id } } }
}`
const ANSWER = `__typename
  ... on IdempotencyConflictError { prediction { id } }
  ... on BudgetExceededError { budget { amount } spent { amount } }
  ... on Error { code }`
const SUBMIT = `mutation ($input: SubmitVideoInput!) {
  answer: submitVideo(input: $input) { ${ANSWER} ... on SubmitVideoPayload { prediction { id } } }
}`
const RETRY = `mutation ($input: RetryPredictionInput!) {
  answer: retryPrediction(input: $input) { ${ANSWER} ... on RetryPredictionPayload { prediction { id } } }
}`
const DECEMBER = '2026-12-01T00:00:00.000Z'
const UNKNOWN = { __typename: 'FeedGap', reason: 'CURSOR_UNKNOWN' }

async function gapOf(harness: Harness, bearer: string, after: string): Promise<Answer> {
  const [first] = await replay(harness, bearer, after)
  return { __typename: first.__typename, reason: first.reason }
}

/** The number of predictions of all apps. */
async function countOf(harness: Harness, expected: Expected): Promise<number> {
  let count = 0
  for (const { bearer } of readers(expected).filter(isWholeApp)) count += (await list(harness, bearer)).length
  return count
}

const MIGRATIONS = '__drizzle_migrations'
/** SQLite's own table of the highest number of each AUTOINCREMENT column. */
const SEQUENCES = 'sqlite_sequence'

/** The rows of each table except the list of migrations. */
function readAll(file: string): Tables {
  const db = new Database(file, { readonly: true })
  try {
    const tables = db
      .prepare(`select name from sqlite_master where type = 'table' and name <> ?`)
      .pluck()
      .all(MIGRATIONS) as string[]
    return Object.fromEntries(
      tables.map(name => [name, db.prepare(`select * from "${name}"`).all() as Row[]]),
    )
  } finally {
    db.close()
  }
}

/** A row as the migrations leave it: old names, today's values. */
function migrated(version: string, table: string, row: Row, before: Tables): Row {
  const valueIn = (column: string, value: unknown): unknown => {
    if (table === SEQUENCES && column === 'name') return RENAMED.tables[String(value)] ?? value
    const name = `${table}.${column}`
    const change = CHANGED_BY_MIGRATIONS.find(
      ({ versions, column, isChanged }) => versions.includes(version) && column === name && isChanged(row),
    )
    return change === undefined
      ? (RENAMED.values[name]?.[String(value)] ?? value)
      : change.change(row, before)
  }
  return Object.fromEntries([
    ...Object.entries(row).map(([column, value]) => [column, valueIn(column, value)]),
    ...addedColumns(table).map(({ column, valueIn }) => [column, valueIn(row, before)]),
  ])
}

const addedColumns = (table: string) => ADDED_COLUMNS.filter(added => added.table === table)

const isAdded = (version: string, table: string, row: Row): boolean =>
  ADDED_AT_THE_START.some(
    added => added.table === table && added.versions.includes(version) && added.isAdded(row),
  )

const sorted = (rows: Row[]): Row[] =>
  rows
    .map(row => [JSON.stringify(row), row] as const)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([, row]) => row)
