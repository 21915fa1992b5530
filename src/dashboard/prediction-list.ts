/**
 * The list of predictions on the page, newest first: those that match a filter, each once, in its latest state. Pure.
 * Invariant: the list has no holes. Down to `oldestLoaded` every matching prediction is in it, and none below.
 */
import type { CardFilter, PredictionCard, PredictionStatus } from './documents.ts'

export interface PredictionList {
  readonly cards: readonly PredictionCard[]
  /** The oldest loaded prediction, if there are older ones to load. Null: all are loaded. */
  readonly oldestLoaded: Pick<PredictionCard, 'id' | 'createdAt'> | null
}

export const EMPTY_LIST: PredictionList = { cards: [], oldestLoaded: null }

export const isUnfinished = (status: PredictionStatus): boolean =>
  status === 'QUEUED' || status === 'CREATED' || status === 'PROCESSING'

export const matchesCardFilter = (
  { statuses = [], tags = [] }: CardFilter,
  prediction: PredictionCard,
): boolean =>
  (statuses.length === 0 || statuses.includes(prediction.status)) &&
  (tags.length === 0 || prediction.tags.some(tag => tags.includes(tag)))

export const filterList = ({ cards, oldestLoaded }: PredictionList, filter: CardFilter): PredictionList => ({
  cards: cards.filter(card => matchesCardFilter(filter, card)),
  oldestLoaded,
})

/** Appends the next, older page. */
export function appendPage(
  list: PredictionList,
  page: readonly PredictionCard[],
  hasMore: boolean,
): PredictionList {
  const cardsById = new Map(list.cards.map(card => [card.id, card]))
  for (const card of page) if (isNewer(card, cardsById.get(card.id))) cardsById.set(card.id, card)
  const cards = [...cardsById.values()].sort(newestFirst)
  return { cards, oldestLoaded: hasMore ? (cards.at(-1) ?? null) : null }
}

/** Applies a new state of a prediction. A card that no longer matches is removed; above `maxCards` the oldest are dropped. */
export function updateCard(
  list: PredictionList,
  filter: CardFilter,
  card: PredictionCard,
  maxCards: number,
): PredictionList {
  const { cards, oldestLoaded } = list
  const existing = cards.find(({ id }) => id === card.id)
  if (!isNewer(card, existing)) return list
  const others = cards.filter(other => other !== existing)
  if (!matchesCardFilter(filter, card)) return { cards: others, oldestLoaded }
  if (existing === undefined && oldestLoaded !== null && newestFirst(card, oldestLoaded) > 0) return list
  const next = [...others, card].sort(newestFirst)
  return next.length > maxCards ? truncate(next, maxCards) : { cards: next, oldestLoaded }
}

function truncate(cards: readonly PredictionCard[], maxCards: number): PredictionList {
  const kept = cards.slice(0, maxCards)
  return { cards: kept, oldestLoaded: kept.at(-1) ?? null }
}

/** An older state never replaces a newer one. */
const isNewer = (incoming: PredictionCard, existing: PredictionCard | undefined): boolean =>
  existing === undefined || existing.updatedAt <= incoming.updatedAt

type CardPosition = Pick<PredictionCard, 'id' | 'createdAt'>

/** Ids ascend in order of creation, also within a millisecond. */
const newestFirst = (a: CardPosition, b: CardPosition): number =>
  compare(b.createdAt, a.createdAt) || compare(b.id, a.id)

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)
