/**
 * Converts Relay's paging arguments to a page request, a page to its connection, and list positions to
 * cursors and back. A list cursor holds only the prediction's own creation time and id, so it needs no
 * encryption.
 */
import type { ListPosition, PageRequest } from '../store/store.ts'
import { QUERY_COST } from './builder.ts'
import { badArgument } from './request-errors.ts'

export interface PageArguments {
  first?: number | null | undefined
  after?: string | null | undefined
  last?: number | null | undefined
  before?: string | null | undefined
}

const DEFAULT_PAGE_SIZE = 20
const MAX_PAGE_SIZE = 100

/** @throws request error BAD_ARGUMENT */
export function parsePageArguments({
  first,
  after,
  last,
  before,
}: PageArguments): Omit<PageRequest, 'filter'> {
  if (typeof first === 'number' && typeof last === 'number')
    throw badArgument('first, last', 'one of the two')
  const backward = typeof last === 'number'
  return {
    limit: backward ? parseLimit('last', last) : parseLimit('first', first),
    backward,
    after: decodeListCursor('after', after),
    before: decodeListCursor('before', before),
  }
}

/** @throws request error BAD_ARGUMENT */
export function parseLimit(argument: string, count: number | null | undefined): number {
  if (count === null || count === undefined) return DEFAULT_PAGE_SIZE
  if (count < 0 || count > MAX_PAGE_SIZE) throw badArgument(argument, `0 to ${MAX_PAGE_SIZE}`)
  return count
}

/** Every requested item counts, whether or not it exists. */
export const pageCost = ({ first, last }: PageArguments): { field: number; multiplier: number } => ({
  field: QUERY_COST,
  multiplier: Math.max(0, first ?? last ?? DEFAULT_PAGE_SIZE),
})

/** A page's edges and pageInfo as Relay's connection. */
export const toConnection = <Node>(
  edges: { cursor: string; node: Node }[],
  pageInfo: { hasNextPage: boolean; hasPreviousPage: boolean },
) => ({
  edges,
  pageInfo: { ...pageInfo, startCursor: edges[0]?.cursor ?? null, endCursor: edges.at(-1)?.cursor ?? null },
})

export const encodeListCursor = ({ createdAt, id }: ListPosition): string =>
  Buffer.from(`${createdAt.toString(36)}:${id}`).toString('base64url')

/** A timestamp and an id have at most 47 bytes. */
const MAX_CURSOR_CHARACTERS = 64

function decodeListCursor(argument: string, cursor: string | null | undefined): ListPosition | null {
  if (cursor === null || cursor === undefined) return null
  const text = cursor.length > MAX_CURSOR_CHARACTERS ? '' : Buffer.from(cursor, 'base64url').toString()
  const [, timestamp, id] = /^([\da-z]{1,10}):([\da-f-]{36})$/.exec(text) ?? []
  if (timestamp === undefined || id === undefined) throw badArgument(argument, 'a cursor from this list')
  return { createdAt: Number.parseInt(timestamp, 36), id }
}
