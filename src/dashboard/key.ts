/**
 * The key or token in use: taken from a link's URL, and kept in this tab's sessionStorage.
 * Invariant: in a URL it is only in the fragment, which browsers do not send, and only until it was read. A link does not
 * replace the key in use unless the user agrees: anyone can make a link, and what is submitted then goes to the link's app.
 */
const STORAGE_KEY = 'rushes.key'

export function findKey(): string | null {
  const current = sessionStorage.getItem(STORAGE_KEY)
  const linked = new URLSearchParams(location.hash.slice(1)).get('key')
  if (linked === null) return current
  history.replaceState(null, '', location.pathname + location.search)
  if (!isKey(linked) || linked === current) return current
  if (current !== null && !confirm(question(linked, current))) return current
  keepKey(linked)
  return linked
}

const question = (linked: string, current: string): string =>
  `This link has another key, ${describeKey(linked)}. Use it in this tab instead of ${describeKey(current)}? What you upload and submit then goes to the app of that key.`

/** The visible characters of a key, which `npm run app -- list` shows. A token has none. */
const describeKey = (key: string): string =>
  key.startsWith('rsh_') ? `${key.slice(0, 12)}…` : 'an access token'

/** True for a text that a header can carry. */
export const isKey = (text: string): boolean => /^[\x21-\x7e]+$/.test(text)

export const keepKey = (key: string): void => sessionStorage.setItem(STORAGE_KEY, key)

export const forgetKey = (): void => sessionStorage.removeItem(STORAGE_KEY)
