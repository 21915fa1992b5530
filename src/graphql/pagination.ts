/**
 * Relay's paging arguments → a page request, a page → its connection, and places in the list ↔ cursors.
 * A place tells nothing but the prediction's own moment and id, so it need not be sealed.
 */
import type { PageRequest, Place } from '../store/store.ts'
import { QUERY_COST } from './builder.ts'
import { badArgument } from './request-errors.ts'

export interface PageArguments {
  first?: number | null | undefined
  after?: string | null | undefined
  last?: number | null | undefined
  before?: string | null | undefined
}

const PAGE = 20
const MOST = 100

/** @throws request error BAD_ARGUMENT */
export function pageOf({ first, after, last, before }: PageArguments): Omit<PageRequest, 'filter'> {
  if (typeof first === 'number' && typeof last === 'number')
    throw badArgument('first, last', 'one of the two')
  const backward = typeof last === 'number'
  return {
    limit: backward ? limitOf('last', last) : limitOf('first', first),
    backward,
    after: placeOf('after', after),
    before: placeOf('before', before),
  }
}

/** @throws request error BAD_ARGUMENT */
export function limitOf(argument: string, count: number | null | undefined): number {
  if (count === null || count === undefined) return PAGE
  if (count < 0 || count > MOST) throw badArgument(argument, `0 to ${MOST}`)
  return count
}

/** Each item of the page counts: as many as are asked for, whether or not there may be so many. */
export const pageCost = ({ first, last }: PageArguments): { field: number; multiplier: number } => ({
  field: QUERY_COST,
  multiplier: Math.max(0, first ?? last ?? PAGE),
})

/** What a connection answers with. */
export const connectionOf = <Node>(
  edges: { cursor: string; node: Node }[],
  more: { hasNextPage: boolean; hasPreviousPage: boolean },
) => ({
  edges,
  pageInfo: { ...more, startCursor: edges[0]?.cursor ?? null, endCursor: edges.at(-1)?.cursor ?? null },
})

export const placeCursor = ({ createdAt, id }: Place): string =>
  Buffer.from(`${createdAt.toString(36)}:${id}`).toString('base64url')

function placeOf(argument: string, cursor: string | null | undefined): Place | null {
  if (cursor === null || cursor === undefined) return null
  const [, moment, id] =
    /^([\da-z]{1,10}):([\da-f-]{36})$/.exec(Buffer.from(cursor, 'base64url').toString()) ?? []
  if (moment === undefined || id === undefined) throw badArgument(argument, 'a cursor from this list')
  return { createdAt: Number.parseInt(moment, 36), id }
}
