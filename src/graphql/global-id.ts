/**
 * Global ids: a type's name and its own id, in one opaque string.
 * Invariant: what is no id decodes to an id that nothing has, so garbage, strangers' ids and unknown ones look the same.
 */
export interface GlobalId {
  typename: string
  id: string
}

export const encodeId = (typename: string, id: string): string =>
  Buffer.from(`${typename}:${id}`).toString('base64url')

export function decodeId(globalId: string): GlobalId {
  const text = Buffer.from(globalId, 'base64url').toString()
  const [, typename = '', id = ''] = /^(\w+):(.+)$/.exec(text) ?? []
  return encodeId(typename, id) === globalId ? { typename, id } : { typename: '', id: '' }
}

/** The id within a type; empty, which nothing has, if it is of another type or no id. */
export function decodeIdOf(typename: string, globalId: string): string {
  const decoded = decodeId(globalId)
  return decoded.typename === typename ? decoded.id : ''
}
