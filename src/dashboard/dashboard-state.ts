/**
 * What the page knows, kept true: read once, then told by the feed from right behind that reading; what no event carries
 * (places in the queue, the app's figures) is read again after events, and every few seconds while something waits.
 * Invariant: what is on the page is never older than what was told: a reading begun before an event gives way to it.
 */
import { createAnnouncer, type Saying } from './announcer.ts'
import { type Api, createApi, Unanswered } from './api.ts'
import { createAttempts } from './attempts.ts'
import { createPulse } from './debounced-refresh.ts'
import {
  type Answer,
  CANCEL,
  FEED,
  type FeedItem,
  FIGURES,
  type Figures,
  type Filter,
  type Model,
  OLDER,
  OVERVIEW,
  type Overview,
  type Page,
  type Prediction,
  RETRY,
  SUBMIT,
  UPLOAD,
  type Viewer,
} from './documents.ts'
import { createPast, type Past } from './history.ts'
import { createWatched } from './observable.ts'
import { EMPTY, hear, read, type Shelf } from './prediction-list.ts'

export interface State {
  /** Null until the first reading is there. */
  viewer: Viewer | null
  models: readonly Model[]
  shelf: Shelf
  filter: Filter
  /** By id; as of the last reading. */
  positions: ReadonlyMap<string, number>
  isLive: boolean
  /** Since when it is not, by this machine's clock. */
  downSince: number | null
  /** What went wrong with the page's own questions. */
  trouble: string | null
  /** A list by the chosen filter is on its way; until then what is there is what passes. */
  isReading: boolean
  /** The last things that somebody who doesn't look should hear. */
  sayings: readonly Saying[]
}

export interface Board {
  readonly state: State
  readonly past: Past
  readonly now: () => number
  watch(listener: () => void): () => void
  show(filter: Filter): void
  readOlder(): Promise<void>
  submit(input: object): Promise<Answer>
  upload(file: File): Promise<Answer>
  cancel(id: string): Promise<Answer>
  retry(id: string): Promise<Answer>
  close(): void
}

/** After an event the figures are read again, but no more often than this; and this often while something waits. */
const FIGURES_MS = 1000
const WAITING_MS = 5000
/** A reading that failed is repeated. */
const AGAIN_MS = 3000
/** `nodes` takes a hundred. */
const MOST_POSITIONS = 100
/** What is further back has been heard. */
const MOST_SAYINGS = 3
/** Cards at first; whoever reads on has more. */
const MOST_SHOWN = 120

const NOTHING: State = {
  viewer: null,
  models: [],
  shelf: EMPTY,
  filter: {},
  positions: new Map(),
  isLive: false,
  downSince: null,
  trouble: null,
  isReading: true,
  sayings: [],
}

/** @param onBarred the key is none, or none any more; the page asks for another */
export function createBoard(key: string, filter: Filter, onBarred: (why: string) => void): Board {
  const state = createWatched<State>({ ...NOTHING, filter })
  const { set } = state
  const timers = new Set<ReturnType<typeof setTimeout>>()
  /** What was heard while a list was being read: newer than what it brings. */
  const meanwhiles = new Set<Prediction[]>()
  const attempts = createAttempts()
  const figures = createPulse(readFigures, FIGURES_MS, WAITING_MS)
  let mostShown = MOST_SHOWN
  let isClosed = false
  let unfollow: (() => void) | null = null

  const api: Api = createApi({
    key,
    onLink(isUp) {
      set({ isLive: isUp, downSince: isUp ? null : (state.value.downSince ?? Date.now()) })
      if (isUp) figures.ring()
    },
  })

  /** What went wrong is over with the next thing that goes well. */
  async function ask<Data>(query: string, variables?: object): Promise<Data> {
    const data = await api.ask<Data>(query, variables)
    if (state.value.trouble !== null) set({ trouble: null })
    return data
  }

  const past = createPast({ ask, now: api.now })
  const announcer = createAnnouncer(saying =>
    set({ sayings: [...state.value.sayings, saying].slice(-MOST_SAYINGS) }),
  )

  function failed(error: unknown): void {
    if (isClosed) return
    if (error instanceof Unanswered && error.isKey) {
      close()
      onBarred(error.message)
      return
    }
    set({ trouble: (error as Error).message })
  }

  function later(ms: number, act: () => void): void {
    if (isClosed) return
    const timer = setTimeout(() => {
      timers.delete(timer)
      act()
    }, ms)
    timers.add(timer)
  }

  /** The list and where the feed stood when it was read: together they miss nothing. */
  async function open(): Promise<void> {
    const { filter } = state.value
    const meanwhile: Prediction[] = []
    meanwhiles.add(meanwhile)
    try {
      const { feedCursor, viewer, models, predictions } = await ask<Overview>(OVERVIEW, { filter })
      // Another filter was chosen since: its own reading is under way.
      if (isClosed || filter !== state.value.filter) return
      mostShown = MOST_SHOWN
      const page = read(EMPTY, nodesOf(predictions), predictions.pageInfo.hasNextPage)
      const shelf = meanwhile.reduce((shelf, card) => hear(shelf, filter, card, mostShown), page)
      set({ viewer, models, shelf, isReading: false })
      if (unfollow === null) follow(feedCursor)
      figures.ring()
    } catch (error) {
      failed(error)
      if (filter === state.value.filter) later(AGAIN_MS, open)
    } finally {
      meanwhiles.delete(meanwhile)
    }
  }

  function follow(after: string): void {
    unfollow = api.watch(
      FEED,
      { after },
      {
        next(result) {
          const { data, errors } = result as FeedItem
          if (errors) set({ trouble: errors[0]?.message ?? null })
          const item = data?.predictionFeed
          if (item?.prediction) {
            heard(item.prediction)
            announcer.hear(item.prediction)
          }
          // Events are missing: what is on the page is read again, and the feed goes on.
          if (item?.reason) {
            open()
            readPast()
          }
        },
        error(error) {
          unfollow = null
          failed(error)
          // It began with a cursor; a new reading gives another.
          if (!(error instanceof Unanswered && error.isKey)) later(AGAIN_MS, open)
        },
        complete: () => {},
      },
    )
  }

  function heard(prediction: Prediction): void {
    past.hear(prediction)
    for (const meanwhile of meanwhiles) meanwhile.push(prediction)
    set({ shelf: hear(state.value.shelf, state.value.filter, prediction, mostShown) })
    figures.ring()
  }

  async function readFigures(): Promise<boolean> {
    // Nobody looks; whoever does again rings.
    if (isClosed || state.value.viewer === null || document.hidden) return false
    past.prune()
    const waiting = state.value.shelf.cards.filter(({ status }) => status === 'QUEUED')
    // Those that will be sent first.
    const ids = waiting.slice(-MOST_POSITIONS).map(({ id }) => id)
    try {
      const { viewer, models, nodes } = await ask<Figures>(FIGURES, { ids })
      const places = nodes.flatMap(node =>
        node === null || node.queuePosition === null ? [] : [[node.id, node.queuePosition] as const],
      )
      set({ viewer, models, positions: new Map(places) })
      return ids.length > 0 || viewer.usage.queued > 0
    } catch (error) {
      failed(error)
      return true
    }
  }

  async function readPast(): Promise<void> {
    try {
      await past.read()
      set({})
    } catch (error) {
      failed(error)
      later(AGAIN_MS, readPast)
    }
  }

  async function tell(query: string, input: object): Promise<Answer> {
    const answer = await api.tell(query, input)
    if (answer.prediction) heard(answer.prediction)
    return answer
  }

  function close(): void {
    isClosed = true
    announcer.stop()
    document.removeEventListener('visibilitychange', figures.ring)
    state.stop()
    figures.stop()
    for (const timer of timers) clearTimeout(timer)
    unfollow?.()
    api.close()
  }

  document.addEventListener('visibilitychange', figures.ring)
  open().then(() => (isClosed ? undefined : readPast()))

  return {
    get state() {
      return state.value
    },
    past,
    now: api.now,
    watch: state.watch,
    show(filter) {
      set({ filter, isReading: true })
      open()
    },
    async readOlder() {
      const { filter, shelf } = state.value
      if (shelf.floor === null) return
      // With those of its own millisecond: which are known is known.
      const createdBefore = new Date(Date.parse(shelf.floor.createdAt) + 1).toISOString()
      try {
        const { predictions } = await ask<Pick<Overview, 'predictions'>>(OLDER, {
          filter: { ...filter, createdBefore },
        })
        if (filter !== state.value.filter) return
        const more = read(state.value.shelf, nodesOf(predictions), predictions.pageInfo.hasNextPage)
        mostShown = Math.max(mostShown, more.cards.length)
        set({ shelf: more })
      } catch (error) {
        failed(error)
      }
    },
    submit: input =>
      attempts.ask(JSON.stringify(input), idempotencyKey => tell(SUBMIT, { ...input, idempotencyKey })),
    upload: file => api.send(UPLOAD, file),
    cancel: id => tell(CANCEL, { id }),
    retry: id => attempts.ask(id, idempotencyKey => tell(RETRY, { id, idempotencyKey })),
    close,
  }
}

const nodesOf = <Node>({ edges }: Page<Node>): Node[] => edges.map(({ node }) => node)
