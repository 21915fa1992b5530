/**
 * What the suites over the store's interface share: its engines, and rows to ask about.
 */
import { expect } from 'vitest'
import { type Access, wholeOf } from '../../src/domain/access-scope.ts'
import type {
  AppId,
  Draft,
  Input,
  Job,
  Observation,
  Prediction,
  PredictionEvent,
} from '../../src/domain/prediction.ts'
import type { Filter } from '../../src/domain/prediction-filter.ts'
import { answered, imageSeen, observed } from '../../src/domain/transitions.ts'
import { openSqlite } from '../../src/store/sqlite/sqlite-store.ts'
import type { PageRequest, Store } from '../../src/store/store.ts'

/** A second engine is one more line. */
export const ENGINES = [
  ['SQLite', async (ring: () => void): Promise<Store> => openSqlite(':memory:', ring)],
] as const

/** Some moment. */
export const T = 1_800_000_000_000
export const SECOND = 1000
export const MINUTE = 60 * SECOND
export const HOUR = 60 * MINUTE
export const PRICE = 800_000
export const NOBODY = '018f0000-0000-7000-8000-000000000000'
const UNLIMITED = { limit: 1000, concurrency: null, perMinute: null, imagesSince: 0 }

export const COMPLETED: Observation = {
  status: 'completed',
  outputs: [{ url: 'https://videos.example/1.mp4', hasNsfwContent: false }],
  inferenceMs: 900,
}

/** What a look at `now` made of it, long before any deadline. */
export const seen = (observation: Observation, now: number, next: number) =>
  observed(observation, { now, next, deadlineMs: HOUR, graceMs: 0 })

export type Open = (typeof ENGINES)[number][1]

export async function fixture(open: Open) {
  let rings = 0
  const store = await open(() => void rings++)
  const app = await newApp(store)
  return {
    store,
    app,
    get rings() {
      return rings
    },
    [Symbol.asyncDispose]: store.close,
  }
}

let apps = 0
export const newApp = async (store: Store): Promise<AppId> => (await store.createApp(`app ${apps++}`, T))!.id

export const INPUT: Input = {
  imageUrl: 'https://images.example/cat.png',
  prompt: 'a slow pan',
  negativePrompt: null,
  duration: 5,
  enablePromptExpansion: false,
  seed: -1,
}

export const draft = (appId: AppId, over: Partial<Draft> = {}): Draft & { cost: number } => ({
  appId,
  model: 'WAN_2_2_I2V_PLUS_1080P',
  input: INPUT,
  tags: [],
  metadata: null,
  retryOf: null,
  uploadId: null,
  space: '',
  token: null,
  cost: PRICE,
  ...over,
})

/** As it stands when it was submitted at `T`, and nothing came of it yet. */
export const fresh = (over: Partial<Prediction> = {}): Prediction => ({
  id: NOBODY,
  ...draft('app' as AppId),
  createdAt: T,
  status: 'QUEUED',
  outputs: [],
  error: null,
  upstreamId: null,
  submittedAt: null,
  startedAt: null,
  finishedAt: null,
  updatedAt: T,
  inferenceMs: null,
  ...over,
})

export const add = async (
  store: Pick<Store, 'create'>,
  appId: AppId,
  at = T,
  over: Partial<Draft> = {},
): Promise<Prediction> => (await create(store, draft(appId, over), null, at)).prediction

/** Refused by no limit. */
export async function create(store: Pick<Store, 'create'>, ...asked: Parameters<Store['create']>) {
  const creation = await store.create(...asked)
  if (creation.kind === 'refused') throw new Error(`refused: ${creation.refusal.code}`)
  return creation
}

/** What an app's own key gives access to. */
export const keyOf = (appId: AppId): Access => ({
  scope: wholeOf(appId),
  grant: null,
  key: '',
  expiresAt: null,
})

/** Every image that waits to be looked at has been. */
export const seeAll = async (store: Store, at: number): Promise<void> => {
  const claim = { now: at, leaseUntil: at + MINUTE, limit: 1000, imagesSince: 0, stock: 10_000 }
  for (const { id, fence } of await store.claimImages(claim)) await store.change(id, imageSeen(at), at, fence)
}

/** Asked for in one turn of the loop. */
export const addMany = async (
  store: Pick<Store, 'create'>,
  appId: AppId,
  count: number,
  at = T,
): Promise<string[]> =>
  idsOf(await Promise.all(Array.from({ length: count }, (_, i) => add(store, appId, at + i))))

export const submits = async (
  store: Store,
  at: number,
  over: Partial<Parameters<Store['claimSubmits']>[0]> = {},
) => {
  await seeAll(store, at)
  return store.claimSubmits({ now: at, leaseUntil: at + MINUTE, ...UNLIMITED, ...over })
}

/** Everything that waits is sent and accepted at `at`, and due for its first look then. */
export const sendAll = async (store: Store, at: number): Promise<Job[]> => {
  const jobs = []
  for (const { id, fence } of await submits(store, at))
    jobs.push(
      (await store.change(
        id,
        answered({ kind: 'accepted', upstreamId: `up-${id}` }, at, at),
        at,
        fence,
      )) as Job,
    )
  return jobs
}

/** The row as the workers see it. */
export const jobOf = async (store: Store, id: string): Promise<Job> => {
  let seen: Job | undefined
  await store.change(
    id,
    job => {
      seen = job
      return null
    },
    T,
  )
  return seen!
}

export const log = async (store: Store, appId: AppId, after = 0): Promise<PredictionEvent[]> =>
  (await store.eventsAfter({ scope: wholeOf(appId), after, limit: 10_000 })).events

export const idsOf = (rows: readonly { id: string }[]): string[] => rows.map(row => row.id)
export const page = (over: Partial<PageRequest> = {}): PageRequest => ({
  limit: 100,
  backward: false,
  after: null,
  before: null,
  filter: {},
  ...over,
})

/** Every page, one after the other, from the end that the direction begins with. */
export async function walk(
  store: Store,
  appId: AppId,
  limit: number,
  backward: boolean,
  filter: Filter = {},
) {
  const pages: Prediction[][] = []
  for (let at: Prediction | undefined; ; ) {
    const place = at === undefined ? {} : backward ? { before: at } : { after: at }
    const { predictions, ...more } = await store.list(
      wholeOf(appId),
      page({ limit, backward, filter, ...place }),
    )
    pages.push(predictions)
    const further = backward ? more.hasPreviousPage : more.hasNextPage
    const back = backward ? more.hasNextPage : more.hasPreviousPage
    expect(back).toBe(at !== undefined)
    if (!further) return pages
    expect(predictions).toHaveLength(limit)
    at = predictions.at(backward ? 0 : -1)
  }
}

export const newestFirst = (a: Prediction, b: Prediction) =>
  b.createdAt - a.createdAt || (a.id < b.id ? 1 : -1)
