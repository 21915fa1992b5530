/**
 * The key or token in use: taken from a link's URL, and kept in this tab's sessionStorage.
 * Invariant: in a URL it is only in the fragment, which browsers do not send, and only until it was read.
 */
const STORAGE_KEY = 'rushes.key'

export function findKey(): string | null {
  const linked = new URLSearchParams(location.hash.slice(1)).get('key')
  if (linked === null) return sessionStorage.getItem(STORAGE_KEY)
  history.replaceState(null, '', location.pathname + location.search)
  if (!isKey(linked)) return null
  keepKey(linked)
  return linked
}

/** True for a text that a header can carry. */
export const isKey = (text: string): boolean => /^[\x21-\x7e]+$/.test(text)

export const keepKey = (key: string): void => sessionStorage.setItem(STORAGE_KEY, key)

export const forgetKey = (): void => sessionStorage.removeItem(STORAGE_KEY)
