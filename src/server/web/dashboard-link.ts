/**
 * The link that opens the dashboard, with a key or without one.
 * Invariant: the key is in the fragment, which browsers do not send to servers.
 */
export const dashboardLink = (url: string, key: string | null): string =>
  key === null ? `${url}/` : `${url}/#key=${key}`
