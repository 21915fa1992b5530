/**
 * The key of an app, or a token: out of the page's address, where a link may carry it, and kept for this tab alone.
 * Invariant: it stands in the fragment only, which no browser sends, and only until it was read.
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

/** What a header can carry. */
export const isKey = (text: string): boolean => /^[\x21-\x7e]+$/.test(text)

export const keepKey = (key: string): void => sessionStorage.setItem(STORAGE_KEY, key)

export const forgetKey = (): void => sessionStorage.removeItem(STORAGE_KEY)
