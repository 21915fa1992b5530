/**
 * The dashboard's state: read once, then updated by the feed from the cursor of that read. Queue positions and usage, which
 * no event carries, are read again after events, and every few seconds while jobs are queued.
 * Invariant: a card is never older than the last event: a read that started before an event does not overwrite it.
 */
import { createAttempts } from './attempts.ts'
import { createDebouncedRefresh } from './debounced-refresh.ts'
import {
  CANCEL,
  type CardFilter,
  type Connection,
  FEED,
  type FeedResult,
  FIGURES,
  type Figures,
  type Model,
  type MutationResult,
  OLDER,
  OVERVIEW,
  type Overview,
  type PredictionCard,
  RETRY,
  SUBMIT,
  UPLOAD,
  type Viewer,
} from './documents.ts'
import { type Announcement, createEndAnnouncer } from './end-announcer.ts'
import { createGatewayApi, type GatewayApi, RequestFailed } from './gateway-api.ts'
import { createHistory, type PredictionHistory } from './history.ts'
import { createObservable } from './observable.ts'
import { appendPage, EMPTY_LIST, type PredictionList, updateCard } from './prediction-list.ts'

export interface DashboardState {
  /** Null until the first read has finished. */
  viewer: Viewer | null
  models: readonly Model[]
  list: PredictionList
  filter: CardFilter
  /** Queue positions by prediction id, as of the last read. */
  positions: ReadonlyMap<string, number>
  isLive: boolean
  /** Start of the current interruption, by this machine's clock; null while live. */
  offlineSince: number | null
  /** Why the page's last request failed; null if it succeeded. */
  errorMessage: string | null
  /** The list of the chosen filter is being read; until then the loaded cards are filtered. */
  isLoading: boolean
  /** The latest announcements for screen readers. */
  announcements: readonly Announcement[]
}

export interface Dashboard {
  readonly state: DashboardState
  readonly history: PredictionHistory
  readonly now: () => number
  subscribe(listener: () => void): () => void
  setFilter(filter: CardFilter): void
  loadOlder(): Promise<void>
  submit(input: object): Promise<MutationResult>
  upload(file: File): Promise<MutationResult>
  cancel(id: string): Promise<MutationResult>
  retry(id: string): Promise<MutationResult>
  close(): void
}

/** Min interval of reading figures after events. */
const FIGURES_MIN_INTERVAL_MS = 1000
/** Interval of reading figures while jobs are queued. */
const FIGURES_MAX_INTERVAL_MS = 5000
/** Delay before a failed read is repeated. */
const RETRY_MS = 3000
/** Max ids of the `nodes` field. */
const MAX_POSITIONS = 100
/** Older announcements have been read out. */
const MAX_ANNOUNCEMENTS = 3
/** Max cards, until the user loads older ones. */
const INITIAL_MAX_CARDS = 120

const INITIAL_STATE: DashboardState = {
  viewer: null,
  models: [],
  list: EMPTY_LIST,
  filter: {},
  positions: new Map(),
  isLive: false,
  offlineSince: null,
  errorMessage: null,
  isLoading: true,
  announcements: [],
}

/** @param onInvalidKey called when the key is invalid or was revoked; the page asks for another one */
export function createDashboard(
  key: string,
  filter: CardFilter,
  onInvalidKey: (message: string) => void,
): Dashboard {
  const state = createObservable<DashboardState>({ ...INITIAL_STATE, filter })
  const { set } = state
  const timers = new Set<ReturnType<typeof setTimeout>>()
  /** Updates that arrived while a list was being read. They are newer than that list. */
  const pendingUpdates = new Set<PredictionCard[]>()
  const attempts = createAttempts()
  const figuresRefresh = createDebouncedRefresh(loadFigures, FIGURES_MIN_INTERVAL_MS, FIGURES_MAX_INTERVAL_MS)
  let maxCards = INITIAL_MAX_CARDS
  let isClosed = false
  let unsubscribe: (() => void) | null = null

  const api: GatewayApi = createGatewayApi({
    key,
    onConnectionChange(isConnected) {
      set({
        isLive: isConnected,
        offlineSince: isConnected ? null : (state.value.offlineSince ?? Date.now()),
      })
      if (isConnected) figuresRefresh.trigger()
    },
  })

  /** Clears the error message after a success. */
  async function request<Data>(query: string, variables?: object): Promise<Data> {
    const data = await api.request<Data>(query, variables)
    if (state.value.errorMessage !== null) set({ errorMessage: null })
    return data
  }

  const history = createHistory({ request, now: api.now })
  const announcer = createEndAnnouncer(announcement =>
    set({ announcements: [...state.value.announcements, announcement].slice(-MAX_ANNOUNCEMENTS) }),
  )

  function handleError(error: unknown): void {
    if (isClosed) return
    if (error instanceof RequestFailed && error.isInvalidKey) {
      close()
      onInvalidKey(error.message)
      return
    }
    set({ errorMessage: (error as Error).message })
  }

  function schedule(ms: number, act: () => void): void {
    if (isClosed) return
    const timer = setTimeout(() => {
      timers.delete(timer)
      act()
    }, ms)
    timers.add(timer)
  }

  /** Reads the list together with the feed's cursor, so that the feed continues without a gap. */
  async function load(): Promise<void> {
    const { filter } = state.value
    const updates: PredictionCard[] = []
    pendingUpdates.add(updates)
    try {
      const { feedCursor, viewer, models, predictions } = await request<Overview>(OVERVIEW, { filter })
      // Another filter was chosen meanwhile, and its own read is in flight.
      if (isClosed || filter !== state.value.filter) return
      maxCards = INITIAL_MAX_CARDS
      const page = appendPage(EMPTY_LIST, nodesOf(predictions), predictions.pageInfo.hasNextPage)
      const list = updates.reduce((current, card) => updateCard(current, filter, card, maxCards), page)
      set({ viewer, models, list, isLoading: false })
      if (unsubscribe === null) subscribeToFeed(feedCursor)
      figuresRefresh.trigger()
    } catch (error) {
      handleError(error)
      if (filter === state.value.filter) schedule(RETRY_MS, load)
    } finally {
      pendingUpdates.delete(updates)
    }
  }

  function subscribeToFeed(after: string): void {
    unsubscribe = api.subscribe(
      FEED,
      { after },
      {
        next(result) {
          const { data, errors } = result as FeedResult
          if (errors) set({ errorMessage: errors[0]?.message ?? null })
          const item = data?.predictionFeed
          if (item?.prediction) {
            applyUpdate(item.prediction)
            announcer.add(item.prediction)
          }
          // Events are missing: read the page's data again. The feed continues.
          if (item?.reason) {
            load()
            loadHistory()
          }
        },
        error(error) {
          unsubscribe = null
          handleError(error)
          // The subscription needs a new cursor, which a new read gives.
          if (!(error instanceof RequestFailed && error.isInvalidKey)) schedule(RETRY_MS, load)
        },
        complete: () => {},
      },
    )
  }

  function applyUpdate(prediction: PredictionCard): void {
    history.record(prediction)
    for (const updates of pendingUpdates) updates.push(prediction)
    set({ list: updateCard(state.value.list, state.value.filter, prediction, maxCards) })
    figuresRefresh.trigger()
  }

  async function loadFigures(): Promise<boolean> {
    // The tab is hidden. It triggers a refresh when it is shown.
    if (isClosed || state.value.viewer === null || document.hidden) return false
    history.prune()
    const waiting = state.value.list.cards.filter(({ status }) => status === 'QUEUED')
    // The oldest, which will be sent first.
    const ids = waiting.slice(-MAX_POSITIONS).map(({ id }) => id)
    try {
      const { viewer, models, nodes } = await request<Figures>(FIGURES, { ids })
      const positions = nodes.flatMap(node =>
        node === null || node.queuePosition === null ? [] : [[node.id, node.queuePosition] as const],
      )
      set({ viewer, models, positions: new Map(positions) })
      return ids.length > 0 || viewer.usage.queued > 0
    } catch (error) {
      handleError(error)
      return true
    }
  }

  async function loadHistory(): Promise<void> {
    try {
      await history.load()
      set({})
    } catch (error) {
      handleError(error)
      schedule(RETRY_MS, loadHistory)
    }
  }

  async function mutate(query: string, input: object): Promise<MutationResult> {
    const result = await api.mutate(query, input)
    if (result.prediction) applyUpdate(result.prediction)
    return result
  }

  function close(): void {
    isClosed = true
    announcer.stop()
    document.removeEventListener('visibilitychange', figuresRefresh.trigger)
    state.stop()
    figuresRefresh.stop()
    for (const timer of timers) clearTimeout(timer)
    unsubscribe?.()
    api.close()
  }

  document.addEventListener('visibilitychange', figuresRefresh.trigger)
  load().then(() => (isClosed ? undefined : loadHistory()))

  return {
    get state() {
      return state.value
    },
    history,
    now: api.now,
    subscribe: state.subscribe,
    setFilter(filter) {
      set({ filter, isLoading: true })
      load()
    },
    async loadOlder() {
      const { filter, list } = state.value
      if (list.oldestLoaded === null) return
      // Includes the millisecond of the oldest card; `appendPage` drops duplicates.
      const createdBefore = new Date(Date.parse(list.oldestLoaded.createdAt) + 1).toISOString()
      try {
        const { predictions } = await request<Pick<Overview, 'predictions'>>(OLDER, {
          filter: { ...filter, createdBefore },
        })
        if (filter !== state.value.filter) return
        const longerList = appendPage(
          state.value.list,
          nodesOf(predictions),
          predictions.pageInfo.hasNextPage,
        )
        maxCards = Math.max(maxCards, longerList.cards.length)
        set({ list: longerList })
      } catch (error) {
        handleError(error)
      }
    },
    submit: input =>
      attempts.run(JSON.stringify(input), idempotencyKey => mutate(SUBMIT, { ...input, idempotencyKey })),
    upload: file => api.uploadFile(UPLOAD, file),
    cancel: id => mutate(CANCEL, { id }),
    retry: id => attempts.run(id, idempotencyKey => mutate(RETRY, { id, idempotencyKey })),
    close,
  }
}

const nodesOf = <Node>({ edges }: Connection<Node>): Node[] => edges.map(({ node }) => node)
