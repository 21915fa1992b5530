/**
 * Relay's paging arguments → a page request, and places in the list ↔ cursors.
 * A place tells nothing but the prediction's own moment and id, so it need not be sealed.
 */
import type { PageRequest, Place } from '../store/store.ts'
import { badArgument } from './request-error.ts'

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
  const limit = limitOf('first', first) ?? limitOf('last', last) ?? PAGE
  return {
    limit,
    backward: typeof last === 'number',
    after: placeOf('after', after),
    before: placeOf('before', before),
  }
}

/** @throws request error BAD_ARGUMENT */
export function limitOf(argument: string, count: number | null | undefined): number | null {
  if (count === null || count === undefined) return null
  if (count < 0 || count > MOST) throw badArgument(argument, `0 to ${MOST}`)
  return count
}

export const placeCursor = ({ createdAt, id }: Place): string =>
  Buffer.from(`${createdAt.toString(36)}:${id}`).toString('base64url')

function placeOf(argument: string, cursor: string | null | undefined): Place | null {
  if (cursor === null || cursor === undefined) return null
  const [, moment, id] =
    /^([\da-z]{1,10}):([\da-f-]{36})$/.exec(Buffer.from(cursor, 'base64url').toString()) ?? []
  if (moment === undefined || id === undefined) throw badArgument(argument, 'a cursor from this list')
  return { createdAt: Number.parseInt(moment, 36), id }
}
