/**
 * Shared by the suites over the store's interface: its engines, and rows for them.
 */
import { expect } from 'vitest'
import { type Access, fullScope, PERMISSIONS } from '../../src/domain/access-scope.ts'
import type {
  AppId,
  Draft,
  Job,
  Observation,
  Prediction,
  PredictionEvent,
} from '../../src/domain/prediction.ts'
import type { Filter } from '../../src/domain/prediction-filter.ts'
import { imageVerified, pollSucceeded, submitAnswered } from '../../src/domain/transitions.ts'
import { openStore } from '../../src/store/open-store.ts'
import type { PageRequest, Store } from '../../src/store/store.ts'
import type { Engine } from './engine.ts'
import { INPUT } from './input.ts'

/** An arbitrary time. */
export const T = 1_800_000_000_000
export const SECOND = 1000
export const MINUTE = 60 * SECOND
export const HOUR = 60 * MINUTE
export const PRICE = 800_000
export const UNKNOWN_ID = '018f0000-0000-7000-8000-000000000000'
const UNLIMITED = {
  limit: 1000,
  upstreamConcurrency: null,
  upstreamSubmitsPerMinute: null,
  imageVerifiedAfter: 0,
}

export const COMPLETED: Observation = {
  status: 'completed',
  outputs: [{ url: 'https://videos.example/1.mp4', hasNsfwContent: false }],
  inferenceMs: 900,
}

/** The transition of a successful poll at `now`, long before any deadline. */
export const pollSucceededAt = (observation: Observation, now: number, nextPollAt: number) =>
  pollSucceeded(observation, { now, nextPollAt, deadlineMs: HOUR, outputGraceMs: 0 })

export async function fixture(open: Engine['open']) {
  let notifications = 0
  const store = await open(() => void notifications++)
  const app = await newApp(store)
  return {
    store,
    app,
    get notifications() {
      return notifications
    },
    [Symbol.asyncDispose]: store.close,
  }
}

/** Stores on one database, each like another process. All are closed together. */
export async function sharedFixture(createDatabase: Engine['createDatabase']) {
  const database = await createDatabase()
  const opened: Store[] = []
  return {
    async open(notify = () => {}) {
      const store = await openStore(database.url, notify)
      opened.push(store)
      return store
    },
    async [Symbol.asyncDispose]() {
      for (const store of opened) await store.close()
      await database[Symbol.asyncDispose]()
    },
  }
}

export const times = <Value>(count: number, make: (i: number) => Value): Value[] =>
  Array.from({ length: count }, (_, i) => make(i))

export { INPUT }

let apps = 0
export const newApp = async (store: Store): Promise<AppId> => (await store.createApp(`app ${apps++}`, T))!.id

export const draft = (appId: AppId, over: Partial<Draft> = {}): Draft & { cost: number } => ({
  appId,
  model: 'WAN_2_2_I2V_PLUS_1080P',
  input: INPUT,
  tags: [],
  metadata: null,
  retryOf: null,
  uploadId: null,
  restrictionKey: '',
  tokenId: null,
  cost: PRICE,
  ...over,
})

/** A prediction as it was submitted at `T`. */
export const newPrediction = (over: Partial<Prediction> = {}): Prediction => ({
  id: UNKNOWN_ID,
  ...draft('app' as AppId),
  createdAt: T,
  version: 1,
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

export const addPrediction = async (
  store: Pick<Store, 'create'>,
  appId: AppId,
  at = T,
  over: Partial<Draft> = {},
): Promise<Prediction> => (await createPrediction(store, draft(appId, over), null, at)).prediction

/** Throws if a limit refuses it. */
export async function createPrediction(store: Pick<Store, 'create'>, ...args: Parameters<Store['create']>) {
  const creation = await store.create(...args)
  if (creation.kind === 'refused') throw new Error(`refused: ${creation.violation.code}`)
  return creation
}

/** The access of an app's own key. */
export const fullAccess = (appId: AppId): Access => ({
  scope: fullScope(appId),
  permissions: PERMISSIONS,
  grant: null,
  keyPrefix: '',
  expiresAt: null,
})

/** Verifies every queued image. */
export const verifyAllImages = async (store: Store, at: number): Promise<void> => {
  const claim = { now: at, leaseUntil: at + MINUTE, limit: 1000, imageVerifiedAfter: 0, readyTarget: 10_000 }
  for (const { id, fence } of await store.claimImageChecks(claim))
    await store.change(id, imageVerified(at), at, fence)
}

/** Creates all of them in one event-loop turn. */
export const addPredictions = async (
  store: Pick<Store, 'create'>,
  appId: AppId,
  count: number,
  at = T,
): Promise<string[]> =>
  idsOf(await Promise.all(Array.from({ length: count }, (_, i) => addPrediction(store, appId, at + i))))

export const claimReadySubmits = async (
  store: Store,
  at: number,
  over: Partial<Parameters<Store['claimSubmits']>[0]> = {},
) => {
  await verifyAllImages(store, at)
  return store.claimSubmits({ now: at, leaseUntil: at + MINUTE, ...UNLIMITED, ...over })
}

/** Sends every queued job. Each is accepted at `at`, and due for its first poll then. */
export const submitAll = async (store: Store, at: number): Promise<Job[]> => {
  const jobs = []
  for (const { id, fence } of await claimReadySubmits(store, at))
    jobs.push(
      (await store.change(
        id,
        submitAnswered({ kind: 'accepted', upstreamId: `up-${id}` }, at, at),
        at,
        fence,
      )) as Job,
    )
  return jobs
}

/** The row as the workers see it. */
export const jobOf = async (store: Pick<Store, 'change'>, id: string): Promise<Job> => {
  let current: Job | undefined
  await store.change(
    id,
    job => {
      current = job
      return null
    },
    T,
  )
  return current!
}

/** The predictions of all apps. */
export const allPredictions = async (store: Store): Promise<Prediction[]> => {
  const apps = await store.listApps()
  const pages = await Promise.all(
    apps.map(({ id }) => store.list(fullScope(id), pageRequest({ limit: 10_000 }))),
  )
  return pages.flatMap(({ predictions }) => predictions)
}

/** The jobs of all apps. */
export const allJobs = async (store: Store): Promise<Job[]> =>
  Promise.all((await allPredictions(store)).map(({ id }) => jobOf(store, id)))

export const eventsOf = async (store: Store, appId: AppId, afterSeq = 0): Promise<PredictionEvent[]> =>
  (await store.eventsAfter({ scope: fullScope(appId), afterSeq, limit: 10_000 })).events

export const idsOf = (rows: readonly { id: string }[]): string[] => rows.map(row => row.id)
export const pageRequest = (over: Partial<PageRequest> = {}): PageRequest => ({
  limit: 100,
  backward: false,
  after: null,
  before: null,
  filter: {},
  ...over,
})

/** Returns every page, one after the other, from the end at which the direction starts. */
export async function listPages(
  store: Store,
  appId: AppId,
  limit: number,
  backward: boolean,
  filter: Filter = {},
) {
  const pages: Prediction[][] = []
  for (let at: Prediction | undefined; ; ) {
    const position = at === undefined ? {} : backward ? { before: at } : { after: at }
    const { predictions, ...more } = await store.list(
      fullScope(appId),
      pageRequest({ limit, backward, filter, ...position }),
    )
    pages.push(predictions)
    const hasMore = backward ? more.hasPreviousPage : more.hasNextPage
    const hasPrevious = backward ? more.hasNextPage : more.hasPreviousPage
    expect(hasPrevious).toBe(at !== undefined)
    if (!hasMore) return pages
    expect(predictions).toHaveLength(limit)
    at = predictions.at(backward ? 0 : -1)
  }
}

export const newestFirst = (a: Prediction, b: Prediction) =>
  b.createdAt - a.createdAt || (a.id < b.id ? 1 : -1)
