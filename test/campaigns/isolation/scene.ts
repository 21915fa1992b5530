/**
 * A gateway of three apps that stands still: one that is rich in everything and secret, and two that have the same as
 * each other. Whatever is asked is asked by these two: by one of what the rich one has, by the other of what never was.
 * Invariant: nothing moves but by what is asked, and no clock does; so two answers differ only by what was asked of.
 */
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import type { AppId, Draft, Prediction, Status } from '../../../src/domain/prediction.ts'
import { answered, canceled, imageSeen } from '../../../src/domain/transitions.ts'
import { type Upload, uploadPath } from '../../../src/domain/upload.ts'
import { type CursorsOf, createCursors } from '../../../src/events/cursor.ts'
import { encodeId } from '../../../src/graphql/global-id.ts'
import { placeCursor } from '../../../src/graphql/pagination.ts'
import type { Store } from '../../../src/store/store.ts'
import { UNCAPPED } from '../../support/doors.ts'
import { inFile } from '../../support/file.ts'
import { type Harness, startGateway } from '../../support/gateway.ts'
import { COMPLETED, create, draft, log, seen } from '../../support/store.ts'

/** In everything of the rich one's that is text. */
export const SECRET = 'heron'
const HOUR = 60 * 60 * 1000

export interface Party {
  name: string
  appId: AppId
  key: string
  /** By status; `again` is a retry of the failed one. */
  own: Record<Status | 'again', Prediction>
  upload: Upload
}

/** What the rich one has, and what has its form and never was. */
export interface Stake {
  what: string
  theirs: string
  nothing: string
}

export interface Question {
  what: string
  /** Of each asker. */
  values: readonly [string, string]
  /** The two may be of different lengths. */
  uneven: boolean
}

/** Own → what its twin's is called, too. */
export type Names = readonly (readonly [own: string, name: string])[]

export interface Scene extends AsyncDisposable {
  harness: Harness
  rich: Party
  /** Asks of what the rich one has, and of what never was. */
  askers: readonly [ofTheirs: Party, ofNothing: Party]
  /** Of the rich one's predictions, one in each status. */
  ids: Stake[]
  /** Whatever else of it could be asked for. */
  others: Stake[]
  /** What each asker has itself. */
  owns: Question[]
  /** What must be in nobody else's answer. */
  secrets(): string[]
  /** Something of the rich one's was changed, by anybody but `submit`. */
  isTouched(): boolean
  /** Whatever it has a name of its own for. */
  namesOf(party: Party): Names
  /** A submit, past the doors. */
  submit(party: Party): Promise<void>
}

export async function openScene(): Promise<Scene> {
  const now = Date.now()
  const harness = await startGateway({ env: UNCAPPED, overrides: { now: () => now, heartbeatMs: HOUR } })
  const { store } = harness.gateway
  const engine = { ...store }
  // Nothing is sent, looked at or ended by itself.
  Object.assign(store, {
    claimImages: async () => [],
    claimSubmits: async () => [],
    claimPolls: async () => [],
    claimSought: async () => [],
    claimAbandoned: async () => [],
  })

  const party = async (name: string, mark: string) => {
    const key = await harness.gateway.issueKey(name, HOUR)
    const { id } = (await store.appNamed(name))!
    const upload = await uploadOf(engine, id, mark, now)
    return { name, appId: id, key, own: await predictions(engine, id, mark, now), upload }
  }
  const rich = await party(`app-${SECRET}`, SECRET)
  const askers = [await party('asker-1', 'common'), await party('asker-2', 'common')] as const
  const database = join(harness.folder, 'rushes.db')
  const cursorsOf = createCursors(store.cursorKey, store.epoch)
  const cursorsAt = cursorsOf(rich.appId)
  const seqs = (await log(store, rich.appId)).map(({ seq }) => seq)
  const head = (await harness.query('{ feedCursor }', {}, rich.key)).data.feedCursor as string
  const token = await harness.query(
    'mutation { createAccessToken(input: { permissions: [READ] }) { ... on CreateAccessTokenPayload { token } } }',
    {},
    rich.key,
  )

  const rows = (sql: string, ...values: string[]) =>
    inFile(database, db => db.prepare(sql).all(...values) as Record<string, string>[])
  const namesOf = ({ appId, name }: Party): Names => [
    [name, '<name>'],
    [appId, '<app row>'],
    [encodeId('App', appId), '<app>'],
    ...rows('select id, created_at at from predictions where app_id = ? order by rowid', appId).flatMap(
      ({ id, at }, i) =>
        [
          [encodeId('Prediction', id!), `<own ${i}>`],
          [placeCursor({ id: id!, createdAt: Number(at) }), `<place ${i}>`],
          [id!, `<row ${i}>`],
        ] as const,
    ),
    ...rows('select id, address from uploads where app_id = ? order by rowid', appId).flatMap(
      ({ id, address }, i) =>
        [
          [encodeId('Upload', id!), `<upload ${i}>`],
          [address!, `<address ${i}>`],
          [id!, `<upload row ${i}>`],
        ] as const,
    ),
  ]

  const rowsOf = ({ appId }: Party) =>
    JSON.stringify([
      rows('select * from predictions where app_id = ? order by rowid', appId),
      rows('select * from tagged where app_id = ?', appId),
      rows('select * from events where app_id = ? order by seq', appId),
      rows('select * from spending where app_id = ?', appId),
      rows('select * from apps where id = ?', appId),
      rows('select * from keys where app_id = ?', appId),
      rows('select * from uploads where app_id = ?', appId),
      rows('select * from images where app_id = ?', appId),
    ])
  let known = rowsOf(rich)
  let touched = false
  const isTouched = () => {
    touched ||= rowsOf(rich) !== known
    return touched
  }

  const { own } = rich
  return {
    harness,
    rich,
    askers,
    ids: Object.entries(own).map(([status, { id }]) => ({
      what: `the id of one that is ${status}`,
      theirs: encodeId('Prediction', id),
      nothing: encodeId('Prediction', other(id)),
    })),
    others: (
      [
        ['the id of the app', encodeId('App', rich.appId), encodeId('App', other(rich.appId))],
        ['an id as it is in the row', own.QUEUED.id, other(own.QUEUED.id)],
        [
          'the id of an upload',
          encodeId('Upload', rich.upload.id),
          encodeId('Upload', other(rich.upload.id)),
        ],
        ['the path of an upload', uploadPath(rich.upload.address), uploadPath(otherAddress())],
        ["upstream's id", own.COMPLETED.upstreamId!, other(own.COMPLETED.upstreamId!)],
        ['the cursor of an event', cursorsAt.seal(seqs[2]!), otherCursor()],
        ["the log's head as it was told", head, otherCursor()],
        [
          'the cursor of a list',
          placeCursor(own.FAILED),
          placeCursor({ ...own.FAILED, id: other(own.FAILED.id) }),
        ],
        ['an idempotency key', `${SECRET} key`, 'nobodys k'],
        ['a tag', `${SECRET} tag`, 'nobodys t'],
        ['a prompt', own.FAILED.input.prompt, own.FAILED.input.prompt.replace(SECRET, 'other')],
        ['an address', own.FAILED.input.imageUrl, own.FAILED.input.imageUrl.replace(SECRET, 'other')],
        [
          'an access token',
          token.data.createAccessToken.token,
          otherToken(token.data.createAccessToken.token),
        ],
        ['the name', rich.name, rich.name.replace(SECRET, 'other')],
      ] as const
    ).map(([what, theirs, nothing]) => ({ what, theirs, nothing })),
    owns: await ownsOf(store, askers, cursorsOf),

    secrets: () => [
      SECRET,
      head,
      ...seqs.map(seq => cursorsAt.seal(seq)),
      ...namesOf(rich).map(([own]) => own),
    ],

    isTouched,
    namesOf,
    async submit(party) {
      if (party === rich) isTouched()
      await create(store, drafted(party.appId, party.name), null, now)
      if (party === rich) known = rowsOf(rich)
    },
    [Symbol.asyncDispose]: () => harness[Symbol.asyncDispose](),
  }
}

/** Of the same form and length, and nothing's: the end of a UUID is turned round. */
const other = (id: string): string =>
  id.replace(/[\da-f]{12}$/, end =>
    [...end].map(digit => (15 - Number.parseInt(digit, 16)).toString(16)).join(''),
  )
const otherCursor = (): string => randomBytes(16).toString('base64url')
const otherAddress = (): string => randomBytes(18).toString('base64url')
const otherToken = (token: string): string =>
  token.replace(/[^.]+$/, seal => randomBytes((seal.length * 3) / 4).toString('base64url'))

async function ownsOf(store: Store, askers: Scene['askers'], cursorsOf: CursorsOf): Promise<Question[]> {
  const of = async ({ appId, name, own, upload }: Party) => {
    const [first] = await log(store, appId)
    return {
      ...Object.fromEntries(
        Object.entries(own).map(([status, { id }]) => [`its own ${status}`, encodeId('Prediction', id)]),
      ),
      'its own upload': encodeId('Upload', upload.id),
      'its own app': encodeId('App', appId),
      'its own event': cursorsOf(appId).seal(first!.seq),
      'its own list': placeCursor(own.COMPLETED),
      'its own name': name,
      'a key of both': 'shared key',
      'a tag of both': 'shared tag',
    }
  }
  const [first, second] = await Promise.all(askers.map(of))
  return Object.entries(first!).map(([what, value]) => ({
    what,
    values: [value, second![what as keyof typeof second]!],
    uneven: false,
  }))
}

const drafted = (appId: AppId, mark: string, over: Partial<Draft> = {}) =>
  draft(appId, {
    input: {
      imageUrl: `https://${mark}.example/image.png`,
      prompt: `a ${mark} flies`,
      negativePrompt: `no ${mark}`,
      duration: 5,
      enablePromptExpansion: false,
      seed: 7,
    },
    tags: [`${mark} tag`, 'shared tag'],
    metadata: { of: `${mark} metadata` },
    ...over,
  })

/** Of no image that could be looked at. */
async function uploadOf(store: Store, appId: AppId, mark: string, now: number): Promise<Upload> {
  const data = Buffer.from(mark)
  const image = {
    appId,
    hash: data.toString('hex').padEnd(64, '0'),
    contentType: 'image/png',
    width: 640,
    height: 480,
    bytes: data.length,
  } as const
  const keeping = await store.keepUpload({ image, space: '', data }, 1024 ** 3, now)
  if (keeping.kind === 'refused') throw new Error('refused')
  return keeping.upload
}

/** One in each status, and a retry. */
async function predictions(store: Store, appId: AppId, mark: string, now: number): Promise<Party['own']> {
  let made = 0
  const add = async (over: Partial<Draft> = {}, key = `${mark} key ${made}`) => {
    const idempotency = { space: '', key, fingerprint: `${mark} ${made}` }
    return (await create(store, drafted(appId, mark, over), idempotency, now - 1000 + made++)).prediction
  }
  const move = async ({ id }: Prediction, ...decisions: Parameters<Store['change']>[1][]) => {
    for (const decide of decisions) await store.change(id, decide, now)
    return (await store.get({ appId, only: null }, id))!
  }
  const sent = async (prediction: Prediction) => {
    await store.change(prediction.id, imageSeen(now), now)
    const claim = {
      now,
      leaseUntil: now + HOUR,
      limit: 100,
      concurrency: null,
      perMinute: null,
      imagesSince: 0,
    }
    for (const { id, fence } of await store.claimSubmits(claim))
      await store.change(
        id,
        answered({ kind: 'accepted', upstreamId: `${mark}-${id}` }, now, now),
        now,
        fence,
      )
    return prediction
  }
  const outputs = [{ url: `https://${mark}.example/video.mp4`, hasNsfwContent: false }]
  const processing = seen({ status: 'processing' }, now, now)
  const failed = seen({ status: 'failed', error: 'GENERATION_FAILED', inferenceMs: 900 }, now, now)
  const FAILED = await move(await sent(await add({}, 'shared key')), failed)
  return {
    FAILED,
    CREATED: await move(await sent(await add())),
    PROCESSING: await move(await sent(await add()), processing),
    COMPLETED: await move(
      await sent(await add()),
      processing,
      seen({ ...COMPLETED, outputs } as never, now, now),
    ),
    CANCELED: await move(await add({}, `${mark} key`), canceled(now)),
    again: await move(await sent(await add({ retryOf: FAILED.id })), failed),
    QUEUED: await add(),
  }
}
