/**
 * The predictions on the page, newest first: those that a filter lets through, each once, as it was last heard of. Pure.
 * Invariant: it has no holes: down to its floor everything is there, and what lies below is not, until it is read.
 */
import type { Filter, Prediction } from './documents.ts'

export interface Shelf {
  readonly cards: readonly Prediction[]
  /** The oldest that was read, where there is more below it. */
  readonly floor: Pick<Prediction, 'id' | 'createdAt'> | null
}

export const EMPTY: Shelf = { cards: [], floor: null }

export const passes = ({ statuses = [], tags = [] }: Filter, prediction: Prediction): boolean =>
  (statuses.length === 0 || statuses.includes(prediction.status)) &&
  (tags.length === 0 || prediction.tags.some(tag => tags.includes(tag)))

export const narrow = ({ cards, floor }: Shelf, filter: Filter): Shelf => ({
  cards: cards.filter(card => passes(filter, card)),
  floor,
})

/** The next page below what is there. */
export function read(shelf: Shelf, page: readonly Prediction[], hasMore: boolean): Shelf {
  const known = new Map(shelf.cards.map(card => [card.id, card]))
  for (const card of page) if (isNews(card, known.get(card.id))) known.set(card.id, card)
  const cards = [...known.values()].sort(newestFirst)
  return { cards, floor: hasMore ? (cards.at(-1) ?? null) : null }
}

/** What became of one. What no longer passes the filter goes; with more than `most` the oldest go below the floor. */
export function hear(shelf: Shelf, filter: Filter, card: Prediction, most: number): Shelf {
  const { cards, floor } = shelf
  const known = cards.find(({ id }) => id === card.id)
  if (!isNews(card, known)) return shelf
  const others = cards.filter(other => other !== known)
  if (!passes(filter, card)) return { cards: others, floor }
  if (known === undefined && floor !== null && newestFirst(card, floor) > 0) return shelf
  const next = [...others, card].sort(newestFirst)
  return next.length > most ? cut(next, most) : { cards: next, floor }
}

function cut(cards: readonly Prediction[], most: number): Shelf {
  const kept = cards.slice(0, most)
  return { cards: kept, floor: kept.at(-1) ?? null }
}

/** What is older than what is known changes nothing. */
const isNews = (heard: Prediction, known: Prediction | undefined): boolean =>
  known === undefined || known.updatedAt <= heard.updatedAt

type Place = Pick<Prediction, 'id' | 'createdAt'>

/** Ids are made in time's order, also within a millisecond. */
const newestFirst = (a: Place, b: Place): number => compare(b.createdAt, a.createdAt) || compare(b.id, a.id)

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)
