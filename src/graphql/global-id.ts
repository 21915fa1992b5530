/**
 * Global ids: a type's name and its own id, in one opaque string.
 * Invariant: an invalid id decodes to an id that no row has, so an invalid id, another app's id and an
 * unknown id get the same answer.
 */
export interface GlobalId {
  typename: string
  id: string
}

export const encodeId = (typename: string, id: string): string =>
  Buffer.from(`${typename}:${id}`).toString('base64url')

/** The resolver of a type's global id. */
export const resolveIdOf =
  (typename: string) =>
  ({ id }: { id: string }): string =>
    encodeId(typename, id)

/** The global id of a prediction has 63 characters. No other is longer. */
const MAX_ID_CHARACTERS = 100

export function decodeId(globalId: string): GlobalId {
  if (globalId.length > MAX_ID_CHARACTERS) return INVALID_ID
  const text = Buffer.from(globalId, 'base64url').toString()
  const [, typename = '', id = ''] = /^(\w+):(.+)$/.exec(text) ?? []
  return encodeId(typename, id) === globalId ? { typename, id } : INVALID_ID
}

const INVALID_ID: GlobalId = { typename: '', id: '' }

/** The id within a type; empty, which no row has, if the global id is invalid or of another type. */
export function decodeIdOf(typename: string, globalId: string): string {
  const decoded = decodeId(globalId)
  return decoded.typename === typename ? decoded.id : ''
}
