/**
 * A gateway with a fixed clock and three tenants: a target with secret data, and two observers with equal data. One
 * observer probes with the target's values, the other with values that do not exist.
 * Invariant: only requests change state, so two answers differ only by the probed value.
 */
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { fullScope } from '../../../src/domain/access-scope.ts'
import type { AppId, Draft, Prediction, Status } from '../../../src/domain/prediction.ts'
import { canceled, imageVerified, submitAnswered } from '../../../src/domain/transitions.ts'
import { previewPath, type Upload } from '../../../src/domain/upload.ts'
import { type CursorsOf, createCursors } from '../../../src/events/cursor.ts'
import { encodeId } from '../../../src/graphql/global-id.ts'
import { encodeListCursor } from '../../../src/graphql/pagination.ts'
import type { Store } from '../../../src/store/store.ts'
import { clocksFrom } from '../../support/clocks.ts'
import { queryDatabaseFile } from '../../support/database-file.ts'
import { type Harness, startGateway } from '../../support/gateway.ts'
import { COMPLETED, createPrediction, draft, eventsOf, pollSucceededAt } from '../../support/store.ts'
import { UNLIMITED_ENV } from '../../support/transports.ts'

/** Part of every text of the target. */
export const SECRET = 'heron'
const HOUR = 60 * 60 * 1000

export interface Tenant {
  name: string
  appId: AppId
  key: string
  /** A prediction by status. `RETRY` is a retry of the failed one. */
  predictions: Record<Status | 'RETRY', Prediction>
  upload: Upload
}

/** A value of the target, and a nonexistent one of the same form. */
export interface SecretValue {
  label: string
  existing: string
  nonexistent: string
}

export interface ValuePair {
  label: string
  /** The value of each observer. */
  values: readonly [string, string]
  /** The two values may differ in length. */
  differsInLength: boolean
}

/** Own text and its placeholder, which is the same for both observers. */
export type Replacements = readonly (readonly [own: string, name: string])[]

export interface IsolationScenario extends AsyncDisposable {
  harness: Harness
  target: Tenant
  /** The first probes with existing values, the second with nonexistent ones. */
  observers: readonly [existing: Tenant, nonexistent: Tenant]
  /** Ids of the target's predictions, one for each status. */
  predictionIds: SecretValue[]
  /** Other values of the target. */
  otherSecrets: SecretValue[]
  /** Values of the observers themselves. */
  ownValues: ValuePair[]
  /** Text that must not be in an observer's answer. */
  secrets(): string[]
  /** Whether rows of the target changed other than by `submit`. */
  hasTargetChanged(): boolean
  /** Replacements for the texts that are unique to a tenant. */
  replacementsFor(tenant: Tenant): Replacements
  /** Submits through the store, past every transport. */
  submit(tenant: Tenant): Promise<void>
}

export async function openIsolationScenario(): Promise<IsolationScenario> {
  const now = Date.now()
  const harness = await startGateway({
    env: UNLIMITED_ENV,
    overrides: { clocks: clocksFrom(() => now), keepAliveMs: HOUR },
  })
  const { store } = harness.gateway
  const originalStore = { ...store }
  // No worker claims anything, so no job changes by itself.
  Object.assign(store, {
    claimImageChecks: async () => [],
    claimSubmits: async () => [],
    claimPolls: async () => [],
    claimUnresolvedSubmits: async () => [],
    claimAbandonedSubmits: async () => [],
  })

  const createTenant = async (name: string, word: string) => {
    const key = await harness.gateway.issueKey(name, HOUR)
    const { id } = (await store.findAppByName(name))!
    const upload = await createUpload(originalStore, id, word, now)
    return {
      name,
      appId: id,
      key,
      predictions: await createPredictions(originalStore, id, word, now),
      upload,
    }
  }
  const target = await createTenant(`app-${SECRET}`, SECRET)
  const observers = [
    await createTenant('asker-1', 'common'),
    await createTenant('asker-2', 'common'),
  ] as const
  const database = join(harness.folder, 'rushes.db')
  const cursorsOf = createCursors(store.cursorKey, store.epoch)
  const targetCursors = cursorsOf(target.appId)
  const events = await eventsOf(store, target.appId)
  const head = (await harness.query('{ feedCursor }', {}, target.key)).data.feedCursor as string
  const token = await harness.query(
    'mutation { createAccessToken(input: { permissions: [READ] }) { ... on CreateAccessTokenPayload { token } } }',
    {},
    target.key,
  )

  const rows = (sql: string, ...values: string[]) =>
    queryDatabaseFile(database, db => db.prepare(sql).all(...values) as Record<string, string>[])
  const replacementsFor = ({ appId, name }: Tenant): Replacements => [
    [name, '<name>'],
    [appId, '<app row>'],
    [encodeId('App', appId), '<app>'],
    ...rows('select id, created_at at from predictions where app_id = ? order by rowid', appId).flatMap(
      ({ id, at }, i) =>
        [
          [encodeId('Prediction', id!), `<own ${i}>`],
          [encodeListCursor({ id: id!, createdAt: Number(at) }), `<list cursor ${i}>`],
          [id!, `<row ${i}>`],
        ] as const,
    ),
    ...rows('select id, preview_token from uploads where app_id = ? order by rowid', appId).flatMap(
      ({ id, preview_token: previewToken }, i) =>
        [
          [encodeId('Upload', id!), `<upload ${i}>`],
          [previewToken!, `<preview token ${i}>`],
          [id!, `<upload row ${i}>`],
        ] as const,
    ),
  ]

  const readTenantRows = ({ appId }: Tenant) =>
    JSON.stringify([
      rows('select * from predictions where app_id = ? order by rowid', appId),
      rows('select * from prediction_tags where app_id = ?', appId),
      rows('select * from events where app_id = ? order by seq', appId),
      rows('select * from app_monthly_spend where app_id = ?', appId),
      rows('select * from apps where id = ?', appId),
      rows('select * from api_keys where app_id = ?', appId),
      rows('select * from uploads where app_id = ?', appId),
      rows('select * from images where app_id = ?', appId),
      rows('select * from image_chunks where app_id = ?', appId),
    ])
  let lastRows = readTenantRows(target)
  let hasChanged = false
  const hasTargetChanged = () => {
    hasChanged ||= readTenantRows(target) !== lastRows
    return hasChanged
  }

  const { predictions } = target
  return {
    harness,
    target,
    observers,
    predictionIds: Object.entries(predictions).map(([status, { id }]) => ({
      label: `the id of a ${status} prediction`,
      existing: encodeId('Prediction', id),
      nonexistent: encodeId('Prediction', differentId(id)),
    })),
    otherSecrets: (
      [
        ['the id of the app', encodeId('App', target.appId), encodeId('App', differentId(target.appId))],
        ['an id as it is in the row', predictions.QUEUED.id, differentId(predictions.QUEUED.id)],
        [
          'the id of an upload',
          encodeId('Upload', target.upload.id),
          encodeId('Upload', differentId(target.upload.id)),
        ],
        ['the path of an upload', previewPath(target.upload.previewToken), previewPath(randomPreviewToken())],
        ["upstream's id", predictions.COMPLETED.upstreamId!, differentId(predictions.COMPLETED.upstreamId!)],
        ['the cursor of an event', targetCursors.encode(events[2]!), randomCursor()],
        ["the cursor of the log's head", head, randomCursor()],
        [
          'the cursor of a list',
          encodeListCursor(predictions.FAILED),
          encodeListCursor({ ...predictions.FAILED, id: differentId(predictions.FAILED.id) }),
        ],
        ['an idempotency key', `${SECRET} key`, 'missing k'],
        ['a tag', `${SECRET} tag`, 'missing t'],
        [
          'a prompt',
          predictions.FAILED.input.prompt,
          predictions.FAILED.input.prompt.replace(SECRET, 'other'),
        ],
        [
          'an image URL',
          predictions.FAILED.input.imageUrl,
          predictions.FAILED.input.imageUrl.replace(SECRET, 'other'),
        ],
        [
          'an access token',
          token.data.createAccessToken.token,
          forgeToken(token.data.createAccessToken.token),
        ],
        ['the name', target.name, target.name.replace(SECRET, 'other')],
      ] as const
    ).map(([label, existing, nonexistent]) => ({ label, existing, nonexistent })),
    ownValues: await createOwnValues(store, observers, cursorsOf),

    secrets: () => [
      SECRET,
      head,
      ...events.map(event => targetCursors.encode(event)),
      ...replacementsFor(target).map(([own]) => own),
    ],

    hasTargetChanged,
    replacementsFor,
    async submit(tenant) {
      if (tenant === target) hasTargetChanged()
      await createPrediction(store, createDraft(tenant.appId, tenant.name), null, now)
      if (tenant === target) lastRows = readTenantRows(target)
    },
    [Symbol.asyncDispose]: () => harness[Symbol.asyncDispose](),
  }
}

/** A nonexistent id of the same form and length: the end of the UUID is inverted. */
const differentId = (id: string): string =>
  id.replace(/[\da-f]{12}$/, end =>
    [...end].map(digit => (15 - Number.parseInt(digit, 16)).toString(16)).join(''),
  )
const randomCursor = (): string => randomBytes(16).toString('base64url')
const randomPreviewToken = (): string => randomBytes(18).toString('base64url')
const forgeToken = (token: string): string =>
  token.replace(/[^.]+$/, signature => randomBytes((signature.length * 3) / 4).toString('base64url'))

async function createOwnValues(
  store: Store,
  observers: IsolationScenario['observers'],
  cursorsOf: CursorsOf,
): Promise<ValuePair[]> {
  const namedValues = async ({ appId, name, predictions, upload }: Tenant) => {
    const [first] = await eventsOf(store, appId)
    return {
      ...Object.fromEntries(
        Object.entries(predictions).map(([status, { id }]) => [
          `its own ${status}`,
          encodeId('Prediction', id),
        ]),
      ),
      'its own upload': encodeId('Upload', upload.id),
      'its own app': encodeId('App', appId),
      'its own event': cursorsOf(appId).encode(first!),
      'its own list': encodeListCursor(predictions.COMPLETED),
      'its own name': name,
      'a key of both': 'shared key',
      'a tag of both': 'shared tag',
    }
  }
  const [first, second] = await Promise.all(observers.map(namedValues))
  return Object.entries(first!).map(([label, value]) => ({
    label,
    values: [value, second![label as keyof typeof second]!],
    differsInLength: false,
  }))
}

const createDraft = (appId: AppId, word: string, overrides: Partial<Draft> = {}) =>
  draft(appId, {
    input: {
      imageUrl: `https://${word}.example/image.png`,
      prompt: `a ${word} flies`,
      negativePrompt: `no ${word}`,
      duration: 5,
      enablePromptExpansion: false,
      seed: 7,
    },
    tags: [`${word} tag`, 'shared tag'],
    metadata: { of: `${word} metadata` },
    ...overrides,
  })

/** An upload whose bytes are no real image. */
async function createUpload(store: Store, appId: AppId, word: string, now: number): Promise<Upload> {
  const data = Buffer.from(word)
  const image = {
    appId,
    hash: data.toString('hex').padEnd(64, '0'),
    contentType: 'image/png',
    width: 640,
    height: 480,
    bytes: data.length,
  } as const
  const upload = await store.saveUpload({ image, restrictionKey: '', data }, 1024 ** 3, now)
  if (upload.kind === 'refused') throw new Error('refused')
  return upload.upload
}

/** Creates a prediction in each status, and a retry. */
async function createPredictions(
  store: Store,
  appId: AppId,
  word: string,
  now: number,
): Promise<Tenant['predictions']> {
  let createdCount = 0
  const add = async (overrides: Partial<Draft> = {}, key = `${word} key ${createdCount}`) => {
    const idempotency = { restrictionKey: '', key, fingerprint: `${word} ${createdCount}` }
    return (
      await createPrediction(
        store,
        createDraft(appId, word, overrides),
        idempotency,
        now - 1000 + createdCount++,
      )
    ).prediction
  }
  const applyTransitions = async ({ id }: Prediction, ...transitions: Parameters<Store['change']>[1][]) => {
    for (const transition of transitions) await store.change(id, transition, now)
    return (await store.get(fullScope(appId), id))!
  }
  const sendUpstream = async (prediction: Prediction) => {
    await store.change(prediction.id, imageVerified(now), now)
    const claim = {
      now,
      leaseUntil: now + HOUR,
      limit: 100,
      upstreamConcurrency: null,
      upstreamSubmitsPerMinute: null,
      imageVerifiedAfter: 0,
    }
    for (const { id, fence } of await store.claimSubmits(claim))
      await store.change(
        id,
        submitAnswered({ kind: 'accepted', upstreamId: `${word}-${id}` }, now, now),
        now,
        fence,
      )
    return prediction
  }
  const outputs = [{ url: `https://${word}.example/video.mp4`, hasNsfwContent: false }]
  const processing = pollSucceededAt({ status: 'processing' }, now, now)
  const failed = pollSucceededAt({ status: 'failed', error: 'GENERATION_FAILED', inferenceMs: 900 }, now, now)
  const FAILED = await applyTransitions(await sendUpstream(await add({}, 'shared key')), failed)
  return {
    FAILED,
    CREATED: await applyTransitions(await sendUpstream(await add())),
    PROCESSING: await applyTransitions(await sendUpstream(await add()), processing),
    COMPLETED: await applyTransitions(
      await sendUpstream(await add()),
      processing,
      pollSucceededAt({ ...COMPLETED, outputs } as never, now, now),
    ),
    CANCELED: await applyTransitions(await add({}, `${word} key`), canceled(now)),
    RETRY: await applyTransitions(await sendUpstream(await add({ retryOf: FAILED.id })), failed),
    QUEUED: await add(),
  }
}
