/**
 * A key of one attempt: asked for again under it, nothing is paid twice. Pages that came by plain http have no `randomUUID`.
 */
export const newKey = (): string =>
  [...crypto.getRandomValues(new Uint8Array(16))].map(byte => byte.toString(16).padStart(2, '0')).join('')
